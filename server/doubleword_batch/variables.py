"""Values of environment variables: what each may be, and the error for what it may not be.

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


def check_base_url(name: str, url: str) -> str:
    """Return `url` as it is written everywhere here, if a key may be sent there.

    Scheme and host are in lower case, without the scheme's own port and slashes at the end.

    Args:
        name: the variable or option that the error should name.
        url: https anywhere, or http on a loopback address.

    Raises:
        ConfigError: another scheme, no host, credentials in the URL, or plain http elsewhere; or
            an address of a known server that its API does not begin at.
    """
    try:
        parts = urlsplit(url)
        host, is_http = parts.hostname or "", parts.scheme in _PORTS and parts.port != 0
        if ":" not in host:
            host.encode("idna").decode("idna")  # raises for what is no name in DNS
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
    """The whole address; one of a known server has to be that of its API."""
    for known in (HOSTED_BASE_URL, OPENAI_BASE_URL):
        if f"{server}/v1" == known and path.strip("/").partition("/")[0] in {"", "v1"}:
            if path.strip("/") == "v1":
                return known
            raise ConfigError(
                f"{name} is not where the API of {server} begins.", hint=f"Set {name} to {known}."
            )
    return server + path.rstrip("/")
