"""Values of environment variables: what each may be, and the error for what it may not be.

Every function raises `ConfigError`, which names the variable.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from doubleword_batch.errors import ConfigError

GIGABYTE = 10**9
_MOST_GIGABYTES = 10**6


_QUOTED = re.compile(r"""(["']).*\1""", re.DOTALL)
_NOT_FILLED_IN = re.compile(
    r"(?:\$\{(?:env:)?\w+\}|%\w+%|\$(?:HOME|USERPROFILE|DOUBLEWORD_\w+|OPENAI_\w+)\b)"
)
_OPENAI = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})
_COMMANDS = frozenset({"DOUBLEWORD_BATCH_ON_DONE"})  # a shell takes quotes and variables in it


def refuse_unread(env: Mapping[str, str]) -> None:
    """Refuse what a shell would have read, and a host or a file of variables did not.

    Quotes would become a part of a key or a folder's name, and `$HOME/state` a folder `$HOME`.
    """
    for name, text in env.items():
        if name in _COMMANDS or not (name.startswith("DOUBLEWORD_") or name in _OPENAI):
            continue
        if _QUOTED.fullmatch(text):
            raise ConfigError(
                f"{name} is set with quotes around its value, which are a part of it here.",
                hint="Set it without quotes: a shell takes them off, Docker's --env-file and "
                "some hosts do not.",
            )
        if found := _NOT_FILLED_IN.match(text):
            raise ConfigError(
                f"{name} begins with {found[0]}, which nothing has filled in.",
                hint="Set it to the value itself: a shell fills in variables, hosts often do not.",
            )


def full_path(name: str, text: str) -> Path:
    """The absolute path that a text means, `~` expanded."""
    try:
        return Path(text).expanduser().absolute()
    except (OSError, RuntimeError):
        raise ConfigError(
            f"{name} names a path whose home folder cannot be found.", hint="Write it out."
        ) from None


def one_of(env: Mapping[str, str], name: str, literal: Any) -> Any:
    """The variable's value, which is one of the Literal's; None when it is not set or empty."""
    value = env.get(name, "").lower()
    allowed = get_args(literal)
    if value and value not in allowed:
        raise ConfigError(
            f"{name}={value!r} is not known.", hint=f"Use one of {', '.join(allowed)}."
        )
    return value or None


def dollars(given: object) -> Decimal | None:
    """An amount of US dollars; None for what is not one: negative, without end, not a number."""
    try:
        value = Decimal(str(given).strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return value if value.is_finite() and value >= 0 else None


def money(env: Mapping[str, str], name: str) -> Decimal | None:
    """An amount in US dollars; None when it is not set or empty."""
    text = env.get(name)
    if not text:
        return None
    value = dollars(text)
    if value is None:
        raise ConfigError(
            f"{name}={text!r} is not an amount.", hint="Use US dollars, such as 2.50."
        )
    return value


def gigabytes(env: Mapping[str, str], name: str, *, default: int) -> int:
    """A size in bytes, given in gigabytes."""
    text = env.get(name)
    if not text:
        return default * GIGABYTE
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or not 0 < value <= _MOST_GIGABYTES:
        raise ConfigError(
            f"{name}={text!r} is not a size.", hint="Use gigabytes, such as 20 or 0.5."
        )
    return int(value * GIGABYTE)


def flag(env: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Whether an option is on."""
    text = env.get(name, "").lower()
    if not text:
        return default
    if text in {"0", "false", "no", "off"}:
        return False
    if text in {"1", "true", "yes", "on"}:
        return True
    raise ConfigError(f"{name}={text!r} is neither on nor off.", hint="Use 1 or 0.")
