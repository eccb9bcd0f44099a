"""Says what is wrong with a line that is no request, as many faults at once as can be told."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from doubleword_batch.errors import quote_untrusted


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a line, and what of it can still be checked.

    Attributes:
        faults: (kind, message); the kinds are those of `report.FIXES`.
        texts: `custom_id`, `method`, `url` and `model`, where they are strings.
    """

    faults: list[tuple[str, str]]
    texts: dict[str, str]


class _Broken(Exception):  # noqa: N818  # a finding, caught below
    """Kind and message of a fault that leaves nothing else to check."""


def diagnose(line: bytes) -> Diagnosis:
    """Find the faults of a line that does not decode as a request."""
    try:
        request = _object(line)
    except _Broken as found:
        kind, message = found.args
        return Diagnosis([(kind, message)], {})
    diagnosis = Diagnosis([], {})
    _look_at_texts(request, ("custom_id", "method", "url"), "", diagnosis)
    body = request.get("body")
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        _look_at_texts(fields, ("model",), "body.", diagnosis)
        if fields.get("stream"):
            diagnosis.faults.append(("stream", "body.stream is on."))
    elif "body" in request:
        diagnosis.faults.append(("wrong_type", f"body is {_kind(body)}, not an object."))
    else:
        diagnosis.faults.append(("missing_field", "body is missing."))
    if not diagnosis.faults:  # what msgspec refuses and json takes
        diagnosis.faults.append(("not_json", "The line holds a number that is out of range."))
    return diagnosis


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode(), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _Broken("not_json", f"{error.msg} at character {error.pos + 1}.") from None
    except UnicodeDecodeError as error:
        raise _Broken("bad_utf8", f"Byte {error.start + 1} of the line is not UTF-8.") from None
    except UnicodeEncodeError:
        message = "The line holds half of a surrogate pair (\\ud800 to \\udfff)."
        raise _Broken("not_json", message) from None
    except RecursionError:
        raise _Broken("not_json", "The line is nested too deeply.") from None
    except ValueError:
        raise _Broken("not_json", "The line holds a number of too many digits.") from None
    if not isinstance(value, dict):
        raise _Broken("not_an_object", f"The line is {_kind(value)}.")
    return cast("dict[str, Any]", value)


def _look_at_texts(
    fields: dict[str, Any], names: tuple[str, ...], prefix: str, diagnosis: Diagnosis
) -> None:
    missing = {"custom_id": "custom_id_missing", "model": "model_missing"}
    for name in names:
        if name not in fields:
            kind = missing.get(name, "missing_field")
            diagnosis.faults.append((kind, f"{prefix}{name} is missing."))
        elif isinstance(fields[name], str):
            diagnosis.texts[name] = fields[name]
        else:
            message = f"{prefix}{name} is {_kind(fields[name])}, not a string."
            diagnosis.faults.append(("wrong_type", message))


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return quote_untrusted(json.dumps(value), 40)


def _refuse(constant: str) -> NoReturn:
    raise _Broken("nan", f"The line holds {constant}.")
