"""What a person has written of a job so far, and what of it cannot be used."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.cascade.option import is_cascade
from doubleword_batch.requests.response_schema import check_schema, unwrapped

_MOST_DIGITS = 7
_DEFAULT_PERCENT = 95
_SCHEMA_HINT = 'Write a JSON Schema, such as {"type": "object", "properties": {...}}.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a person has written of a job so far, as the texts of a form.

    Attributes:
        response_schema: JSON text, or "".
        max_tokens: of each answer, or "".
        strong_model: of a cascade, or "" for none.
        target: share of the rows that have to agree with it, in percent.
    """

    prompt: str
    system: str = ""
    model: str = ""
    window: str = ""
    response_schema: str = ""
    max_tokens: str = ""
    strong_model: str = ""
    target: str = ""

    def params(self) -> dict[str, Any] | None:
        """The parameters of each request.

        Raises:
            InputError: the longest answer is not a number of tokens.
        """
        tokens = self.max_tokens.strip()
        if not tokens:
            return None
        if not tokens.isdecimal() or len(tokens) > _MOST_DIGITS or not int(tokens):
            raise InputError(
                "The longest answer must be a whole number of tokens.",
                hint="Write it like 300, or leave it empty.",
            )
        return {"max_tokens": int(tokens)}

    def schema(self) -> dict[str, Any] | None:
        """The schema of the answers.

        Raises:
            InputError: code `invalid_schema`.
        """
        text = self.response_schema.strip()
        return _schema(text) if text else None

    def cascade(self) -> dict[str, Any] | None:
        """The option `cascade` of the build.

        Raises:
            InputError: the target is not one.
        """
        if not self.strong_model.strip():
            return None
        try:
            target = (
                float(self.target.strip().removesuffix("%").replace(",", ".") or _DEFAULT_PERCENT)
                / 100
            )
        except ValueError:
            target = 0.0
        option = {"model": self.strong_model.strip(), "target": round(target, 6)}
        if not is_cascade(option):
            raise InputError(
                "The share of rows that has to agree with the strong model must be a percentage.",
                hint="Write a percentage from 50 to 99, such as 95.",
            )
        return option


@lru_cache(maxsize=16)  # it is checked in a process of its own, and asked for at every change
def _schema(text: str) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The schema is not JSON: {error}.", hint=_SCHEMA_HINT, code="invalid_schema"
        ) from None
    if not isinstance(given, dict):
        raise InputError(
            "The schema is not a JSON object.", hint=_SCHEMA_HINT, code="invalid_schema"
        )
    schema = cast("dict[str, Any]", given)
    check_schema(unwrapped(schema)[0])
    return schema
