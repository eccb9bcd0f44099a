"""Values of environment variables: which are allowed, and the error for any other.

Every function raises `ConfigError`, which names the variable.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from doubleword_batch.errors import ConfigError
from doubleword_batch.loopback import is_loopback
from doubleword_batch.plain_text import is_plain

HOSTED_BASE_URL = "https://api.doubleword.ai/v1"
OPENAI_BASE_URL = "https://api.openai.com/v1"

GIGABYTE = 10**9
_PORTS = {"https": 443, "http": 80}
_MOST_GIGABYTES = 10**6


_QUOTED = re.compile(r"""(["']).*\1""", re.DOTALL)
_NOT_FILLED_IN = re.compile(
    r"(?:\$\{(?:env:)?\w+\}|%\w+%|\$(?:HOME|USERPROFILE|DOUBLEWORD_\w+|OPENAI_\w+)\b)"
)
_OPENAI = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})
_COMMANDS = frozenset({"DOUBLEWORD_BATCH_ON_DONE"})  # a shell interprets them later


def refuse_unread(env: Mapping[str, str]) -> None:
    """Refuse what a shell would have interpreted, but a host or a file of variables did not.

    Quotes would become part of a key or a folder's name, and `$HOME/state` a folder named `$HOME`.
    """
    for name, text in env.items():
        if name in _COMMANDS or not (name.startswith("DOUBLEWORD_") or name in _OPENAI):
            continue
        if _QUOTED.fullmatch(text):
            raise ConfigError(
                f"{name} has quotes around its value, which would be part of it.",
                hint="Set it without quotes: a shell removes them, but Docker's --env-file and "
                "some hosts do not.",
            )
        if found := _NOT_FILLED_IN.match(text):
            raise ConfigError(
                f"{name} begins with {found[0]}, which was not replaced by its value.",
                hint="Set it to the value itself: a shell replaces variables, hosts often do not.",
            )


def full_path(name: str, text: str) -> Path:
    """The absolute path that a text means, with `~` expanded."""
    if "\0" in text:
        raise ConfigError(f"{name} holds a NUL character.", hint="Give a path without it.")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(
            f"{name} names a path whose home folder cannot be found.", hint="Write it out."
        ) from None
    except OSError:
        raise ConfigError(
            f"{name} names a relative path, and the working directory is gone or cannot be read.",
            hint="Write the path out, or change to another folder.",
        ) from None


def one_of(env: Mapping[str, str], name: str, literal: Any) -> Any:
    """The variable's value, which must be one of the Literal's; None if it is unset or empty."""
    value = env.get(name, "").lower()
    allowed = get_args(literal)
    if value and value not in allowed:
        raise ConfigError(
            f"{name}={value!r} is not known.", hint=f"Use one of {', '.join(allowed)}."
        )
    return value or None


def dollars(given: object) -> Decimal | None:
    """An amount of US dollars; None if it is negative, infinite or not a number."""
    try:
        value = Decimal(str(given).strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return value if value.is_finite() and value >= 0 else None


def money(env: Mapping[str, str], name: str) -> Decimal | None:
    """An amount in US dollars; None if it is unset or empty."""
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


def check_base_url(name: str, url: str) -> str:
    """Return `url` in the form used everywhere here, if a key may be sent there.

    Scheme and host become lower case; the scheme's default port and trailing slashes are removed.

    Args:
        name: the variable or option to name in the error.
        url: https anywhere, or http on a loopback address.

    Raises:
        ConfigError: another scheme, no host, credentials in the URL, plain http elsewhere, or an
            address of a known server that is not its API's.
    """
    try:
        parts = urlsplit(url)
        host, is_http = parts.hostname or "", parts.scheme in _PORTS and parts.port != 0
        if ":" not in host:
            host.encode("idna").decode("idna")  # raises for an invalid DNS name
    except ValueError:  # also for unbalanced brackets, or a port that is not a number
        parts, host, is_http = urlsplit(""), "", False
    if not is_http or not host or not is_plain(url) or " " in url or not parts.path.isascii():
        fault = "is not an http(s) URL"
    elif set("?#") & set(url) or "@" in parts.netloc:
        fault = "carries credentials, a query or a fragment; it must be a plain address"
    elif parts.scheme == "http" and not is_loopback(host):
        fault = (
            "is plain http on a host that is not this machine; a key sent there could be read on "
            "the way"
        )
    else:
        place = f"[{host}]" if ":" in host else host
        port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
        return _with_its_path(name, f"{parts.scheme}://{place}{port}", parts.path)
    raise ConfigError(
        f"{name} {fault}.",
        hint=f"Set {name} to an https URL such as {HOSTED_BASE_URL}, or to http on 127.0.0.1.",
    )


def _with_its_path(name: str, server: str, path: str) -> str:
    """The whole address; for a known server it must be its API's."""
    for known in (HOSTED_BASE_URL, OPENAI_BASE_URL):
        if f"{server}/v1" == known and path.strip("/").partition("/")[0] in {"", "v1"}:
            if path.strip("/") == "v1":
                return known
            raise ConfigError(
                f"{name} is not the base URL of {server}'s API.", hint=f"Set {name} to {known}."
            )
    return server + path.rstrip("/")
