"""Reads the environment: the server, the key and the caps that a human set."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from batchkit.cli import Exit, ScriptError, quoted, usd

if TYPE_CHECKING:
    from decimal import Decimal

HOSTED = "https://api.doubleword.ai/v1"
_OPENAI = "https://api.openai.com/v1"
_PORTS = {"https": 443, "http": 80}
_READ = ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "DOUBLEWORD_BATCH_MAX_COST_USD")
_QUOTED = re.compile(r"""(["']).*\1""", re.DOTALL)
_NOT_FILLED_IN = re.compile(
    r"(?:\$\{(?:env:)?\w+\}|%\w+%|\$(?:HOME|USERPROFILE|DOUBLEWORD_\w+|OPENAI_\w+)\b)"
)


class Settings(NamedTuple):
    """One reading of the environment.

    Attributes:
        base_url: the API's address with `/v1`, without a trailing slash.
        key: sent to `base_url` and nowhere else; "" for a server on this machine without one.
        provider: the package's name for this server, for shared fingerprints.
        max_cost_usd: hard cap for one file.
    """

    base_url: str
    key: str
    provider: str
    max_cost_usd: Decimal | None

    def __repr__(self) -> str:
        return f"Settings(base_url={self.base_url!r}, key=***)"

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")


def read_settings() -> Settings:
    """Read the environment; the key comes from `DOUBLEWORD_API_KEY` and from nowhere else."""
    env = {name: value.strip() for name, value in os.environ.items()}
    _refuse_unread(env)
    key = env.get("DOUBLEWORD_API_KEY", "")
    named = _named_provider(env)
    own = _OPENAI if named == "openai" else HOSTED
    base_url = _checked_url(env.get("DOUBLEWORD_BASE_URL") or own)
    guess = {HOSTED: "doubleword", _OPENAI: "openai"}.get(base_url, "generic")
    cap = _cap(env.get("DOUBLEWORD_BATCH_MAX_COST_USD"))
    settings = Settings(base_url, key, named or guess, cap)
    if not key and not settings.is_loopback:
        raise ScriptError(
            Exit.CONFIG,
            "DOUBLEWORD_API_KEY is not set.",
            "Ask the person to set it; never put a key on a command line. Without a key, "
            "the command `doubleword-batch` runs batches on this machine.",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ScriptError(
            Exit.CONFIG, "DOUBLEWORD_API_KEY is not a key: it has spaces or unusual characters."
        )
    _refuse_other_limits(env)
    return settings


def _named_provider(env: dict[str, str]) -> str:
    """The provider that the environment names; "" for none.

    Settings that would send rows elsewhere than the package does are refused.
    """
    named = env.get("DOUBLEWORD_BATCH_PROVIDER", "").lower()
    name = f"DOUBLEWORD_BATCH_PROVIDER={quoted(named, 40)}"
    hint = "Unset the variable, or use the command `doubleword-batch`."
    _refuse_mixed_families(env, named)
    if named not in {"", "doubleword", "openai", "generic", "local"}:
        raise ScriptError(
            Exit.CONFIG, f"{name} is not known.", "Use doubleword, openai or generic."
        )
    if named == "local":
        raise ScriptError(Exit.CONFIG, f"{name}: the scripts only work with a server.", hint)
    if named == "generic" and not env.get("DOUBLEWORD_BASE_URL"):
        raise ScriptError(
            Exit.CONFIG, f"{name} needs the server's address.", "Set DOUBLEWORD_BASE_URL."
        )
    if named == "openai" and env.get("OPENAI_API_KEY"):
        raise ScriptError(
            Exit.CONFIG, f"{name} means OPENAI_API_KEY, which the scripts do not read.", hint
        )
    return named


def _refuse_mixed_families(env: dict[str, str], named: str) -> None:
    """Reject one family's key with the other family's address."""
    if named not in {"", "openai"}:
        return
    for ours, other in (("DOUBLEWORD", "OPENAI"), ("OPENAI", "DOUBLEWORD")):
        key, address = f"{ours}_API_KEY", f"{other}_BASE_URL"
        if not env.get(key) or env.get(f"{ours}_BASE_URL") or env.get(f"{other}_API_KEY"):
            continue
        url = env.get(address, "")
        if url and (named or not _is_loopback(_host(url))):
            raise ScriptError(
                Exit.CONFIG,
                f"{key} is set without an address of its own, and {address} without a key of its "
                "own: it is not clear where the rows should go.",
                "Unset the one you do not mean; the scripts read DOUBLEWORD_API_KEY and "
                "DOUBLEWORD_BASE_URL.",
            )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def takes_strict_json() -> bool:
    """Whether a structured answer counts only if nothing surrounds its JSON."""
    return _is_on(os.environ.get("DOUBLEWORD_BATCH_STRICT_JSON", ""))


def _is_on(value: str) -> bool:
    return value.strip().lower() not in {"", "0", "false", "no", "off"}


def _refuse_unread(env: dict[str, str]) -> None:
    """Refuse what a shell would have interpreted, but a host or a file of variables did not."""
    for name in _READ:
        text = env.get(name, "")
        if _QUOTED.fullmatch(text):
            raise ScriptError(
                Exit.CONFIG,
                f"{name} has quotes around its value, which would be part of it.",
                "Set it without quotes.",
            )
        if _NOT_FILLED_IN.match(text):
            raise ScriptError(
                Exit.CONFIG,
                f"{name} begins with a variable, which was not replaced by its value.",
                "Set it to the value itself.",
            )


def _checked_url(url: str) -> str:
    """The address as the package writes it, if a key may be sent there."""
    hint = f"Use an https URL such as {HOSTED}, or http on 127.0.0.1."
    try:
        parts = urlsplit(url)
        host, is_http = parts.hostname or "", parts.scheme in _PORTS and parts.port != 0
        if ":" not in host:
            host.encode("idna").decode("idna")  # raises for an invalid DNS name
    except ValueError:
        parts, host, is_http = urlsplit(""), "", False
    plain = not set("?# ") & set(url) and "@" not in parts.netloc and url.isprintable()
    plain = plain and parts.path.isascii()
    if not is_http or not host or not plain:
        raise ScriptError(Exit.CONFIG, "DOUBLEWORD_BASE_URL is not a plain http(s) address.", hint)
    if parts.scheme == "http" and not _is_loopback(host):
        raise ScriptError(
            Exit.CONFIG, "DOUBLEWORD_BASE_URL would send the key over plain http.", hint
        )
    place = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    server, path = f"{parts.scheme}://{place}{port}", parts.path.strip("/")
    known = f"{server}/v1"
    if known in (HOSTED, _OPENAI) and path.partition("/")[0] in {"", "v1"}:
        if path == "v1":
            return known
        raise ScriptError(
            Exit.CONFIG,
            f"DOUBLEWORD_BASE_URL is not the base URL of {server}'s API.",
            f"Set DOUBLEWORD_BASE_URL to {known}.",
        )
    return server + parts.path.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _cap(text: str | None) -> Decimal | None:
    if not text:
        return None
    try:
        return usd(text)
    except ValueError:
        raise ScriptError(
            Exit.CONFIG, f"DOUBLEWORD_BATCH_MAX_COST_USD={quoted(text, 40)} is not an amount."
        ) from None


def _refuse_other_limits(env: dict[str, str]) -> None:
    """Limits that only the package can enforce must not be bypassed by using the scripts."""
    asked = bool(env.get("DOUBLEWORD_BATCH_ASK_ABOVE_USD", "").strip())  # above 0 is everything
    for name, is_set in (
        ("DOUBLEWORD_BATCH_MAX_DAILY_USD", _is_on(env.get("DOUBLEWORD_BATCH_MAX_DAILY_USD", ""))),
        ("DOUBLEWORD_BATCH_ASK_ABOVE_USD", asked),
        ("DOUBLEWORD_BATCH_READ_ONLY", _is_on(env.get("DOUBLEWORD_BATCH_READ_ONLY", ""))),
    ):
        if is_set:
            raise ScriptError(
                Exit.CONFIG,
                f"{name} is set, which this script cannot enforce.",
                "Use the command `doubleword-batch`, or ask the person.",
            )
