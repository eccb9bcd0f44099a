"""Finds the secrets in a request, which must stay out of files that people hand on.

A tool that the model may call can hold a token, and an address a password. They are recognised by
the name of their field or by their form; in doubt, a value counts as a secret.
"""

import re
from typing import Any, cast

MASK = "***"

_NAMES = re.compile(
    r"(^|[_.\- ])(authorization|auth|password|passwd|passphrase|secret|token|apikey|credentials?"
    r"|cookie|headers)$"
    r"|(api|access|private|secret|auth|account|subscription)[_.\- ]?key$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FORMS = re.compile(
    r"\b(sk|pk|rk|ghp|gho|ghs|glpat|whsec|xox[abprs]|hf|gsk|AKIA|AIza)[-_]?[A-Za-z0-9_\-]{12,}"
    r"|github_pat_\w{12,}|\beyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*"
    r"|\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/=\-]{8,}"
)
_USER_OF_ADDRESS = re.compile(r"(?<=://)[^\s/@?#]*@")


def masked(value: Any) -> tuple[Any, list[str]]:
    """The value without its secrets, and the places where they were.

    Args:
        value: anything that JSON holds.
    """
    found: list[str] = []
    return _masked(value, "", found), found


def masked_text(text: str) -> str:
    """A text without keys, tokens, and the users and passwords in addresses."""
    return _USER_OF_ADDRESS.sub(f"{MASK}@", _FORMS.sub(MASK, text))


def _masked(value: Any, place: str, found: list[str]) -> Any:
    if isinstance(value, str):
        shown = masked_text(value)
        if shown != value:
            found.append(place)
        return shown
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_masked(inner, f"{place}[{at}]", found) for at, inner in enumerate(items)]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, inner in cast("dict[str, Any]", value).items():
        inside = f"{place}.{name}" if place else name
        if (
            _NAMES.search(_HUMP.sub("_", name))
            and inner not in (None, "", [], {})
            and not _is_schema(inner)
        ):
            found.append(inside)
            kept[name] = MASK
        else:
            kept[name] = _masked(inner, inside, found)
    return kept


def _is_schema(value: Any) -> bool:
    """Whether it is a schema that only describes a value, such as a tool's parameter `token`."""
    return isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("type"), str)
