"""Settings: the whole configuration, read once from the environment.

This module reads every setting; nothing else takes one from `os.environ`. Keys are `Secret`s: they
are revealed only where they are sent and appear in no repr, log or error.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from doubleword_batch.errors import ConfigError
from doubleword_batch.loopback import is_loopback
from doubleword_batch.path_text import is_system_folder
from doubleword_batch.variables import (
    GIGABYTE,
    HOSTED_BASE_URL,
    OPENAI_BASE_URL,
    check_base_url,
    flag,
    full_path,
    gigabytes,
    money,
    one_of,
    refuse_unread,
)

# As hints name them: which variable is read depends on the provider (`_key_and_address`).
KEY_VARIABLES = "DOUBLEWORD_API_KEY (or OPENAI_API_KEY, where that is the one set)"
BASE_URL_VARIABLES = "DOUBLEWORD_BASE_URL (or OPENAI_BASE_URL, where that is the one set)"

ProviderName = Literal["doubleword", "openai", "local", "generic"]
ExecutorName = Literal["builtin", "simulate", "upstream"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

_KNOWN_ADDRESSES: dict[str, ProviderName] = {
    HOSTED_BASE_URL: "doubleword",
    OPENAI_BASE_URL: "openai",
}
_KEY = re.compile(r"[!-~]+")


class Secret:
    """A key that does not show itself; `reveal()` is called only where the key is sent."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class KeyAndAddress:
    """An address and its key as somebody gave them, not checked yet.

    Attributes:
        base_url: "" for the provider's own address.
        api_key: None if there is none.
        has_key_function: the caller's transport gets a key for each request.
        family: the prefix of the variables they are read from, for errors.
    """

    base_url: str = ""
    api_key: Secret | None = None
    has_key_function: bool = False
    family: Literal["DOUBLEWORD", "OPENAI"] = "DOUBLEWORD"


@dataclass(frozen=True, slots=True)
class Settings:
    """One reading of the environment.

    Attributes:
        provider: which profile of `providers.toml` describes the server.
        base_url: the API with `/v1`, without a trailing slash; "" for the local server.
        api_key: sent to `base_url` and nowhere else; None for the local server.
        home: the state directory (created when it is first written to).
        roots: folders that agents may read and write; empty if nobody listed any and the server was
            started in a folder that contains the home folder, or in a folder of Windows.
        roots_are_explicit: whether a person listed them; the command line, where the person types
            the paths, applies only explicit roots.
        max_cost_usd: hard cap for one job, US dollars; None for no cap.
        max_daily_usd: hard cap for all jobs of one UTC day, US dollars; None for no cap.
        ask_above_usd: jobs above this cost wait for a person's approval, US dollars; None to ask
            nobody.
        read_only: do not register tools that write.
        strict_json: a structured answer counts only if it is nothing but JSON, without a code fence
            around it or thoughts before it.
        local_executor: what answers the local server's requests; None to choose by what is
            available.
        local_url: the upstream executor's OpenAI-compatible base URL.
        local_key: the upstream executor's key.
        local_model: a GGUF file for the builtin executor; None for the downloaded one.
        log_level: level of the log on stderr.
        proxy_key: the key that programs must send to the proxy; None for a generated one.
        max_state_bytes: if the state directory is larger, nothing is built.
        lock_files: whether a table of answers gets a lock file beside it.
        on_done: a command line to run when a job that an agent started has ended.
        notify: show a desktop notification then.
        channel: report the ends of its jobs to the host's session, through its channel.
        webhook_secret: verifies that webhooks come from the provider.
        platform_key: key for the provider's management API, which is only asked for prices.
        platform_url: address of that API; None for the provider's own.
    """

    provider: ProviderName
    base_url: str
    api_key: Secret | None
    home: Path
    roots: tuple[Path, ...]
    roots_are_explicit: bool = False
    max_cost_usd: Decimal | None = None
    max_daily_usd: Decimal | None = None
    ask_above_usd: Decimal | None = None
    read_only: bool = False
    strict_json: bool = False
    local_executor: ExecutorName | None = None
    local_url: str | None = None
    local_key: Secret | None = field(default=None)
    local_model: Path | None = None
    log_level: LogLevel = "warning"
    proxy_key: Secret | None = None
    max_state_bytes: int = 20 * GIGABYTE
    lock_files: bool = True
    on_done: str | None = None
    notify: bool = False
    channel: bool = False
    webhook_secret: Secret | None = None
    platform_key: Secret | None = None
    platform_url: str | None = None

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        provider: ProviderName | None = None,
        key_and_address: KeyAndAddress | None = None,
        home: str | Path | None = None,
    ) -> "Settings":
        """Read the settings.

        Args:
            environ: the variables to read; the process's own by default.
            provider: use this one, whatever `DOUBLEWORD_BATCH_PROVIDER` says.
            key_and_address: replaces the variables for address and key.
            home: replaces `DOUBLEWORD_BATCH_HOME`.

        Raises:
            ConfigError: a variable has a value that cannot be used; the message names it.
        """
        env = {k: v.strip() for k, v in (os.environ if environ is None else environ).items()}
        refuse_unread(env)
        if provider is not None:
            env["DOUBLEWORD_BATCH_PROVIDER"] = provider
        provider, base_url, api_key = _provider(env, key_and_address)
        roots = env.get("DOUBLEWORD_BATCH_ROOTS")
        return cls(
            provider=provider,
            base_url=base_url,
            api_key=api_key,
            home=_home(env, home),
            roots=_roots(roots),
            roots_are_explicit=bool(roots),
            max_cost_usd=money(env, "DOUBLEWORD_BATCH_MAX_COST_USD"),
            max_daily_usd=money(env, "DOUBLEWORD_BATCH_MAX_DAILY_USD"),
            ask_above_usd=money(env, "DOUBLEWORD_BATCH_ASK_ABOVE_USD"),
            read_only=flag(env, "DOUBLEWORD_BATCH_READ_ONLY"),
            strict_json=flag(env, "DOUBLEWORD_BATCH_STRICT_JSON"),
            local_executor=one_of(env, "DOUBLEWORD_BATCH_LOCAL_EXECUTOR", ExecutorName),
            local_url=_address(env, "DOUBLEWORD_BATCH_LOCAL_URL"),
            local_key=_secret(env, "DOUBLEWORD_BATCH_LOCAL_KEY"),
            local_model=_file(env, "DOUBLEWORD_BATCH_LOCAL_MODEL"),
            log_level=one_of(env, "DOUBLEWORD_BATCH_LOG", LogLevel) or "warning",
            proxy_key=_secret(env, "DOUBLEWORD_BATCH_PROXY_KEY"),
            max_state_bytes=gigabytes(env, "DOUBLEWORD_BATCH_MAX_STATE_GB", default=20),
            lock_files=flag(env, "DOUBLEWORD_BATCH_LOCK_FILES", default=True),
            on_done=env.get("DOUBLEWORD_BATCH_ON_DONE", "").strip() or None,
            notify=flag(env, "DOUBLEWORD_BATCH_NOTIFY"),
            channel=flag(env, "DOUBLEWORD_BATCH_CHANNEL"),
            webhook_secret=_secret(env, "DOUBLEWORD_BATCH_WEBHOOK_SECRET"),
            platform_key=_secret(env, "DOUBLEWORD_PLATFORM_KEY"),
            platform_url=_address(env, "DOUBLEWORD_PLATFORM_URL"),
        )


def environment() -> dict[str, str]:
    """A copy of the process's variables, for reading settings with some of them replaced."""
    return dict(os.environ)


def header_value(key: Secret) -> str:
    """The key itself, if a header can carry it.

    Raises:
        ConfigError: it cannot; the HTTP library would show such a key in its error.
    """
    if _KEY.fullmatch(key.reveal()):
        return key.reveal()
    raise ConfigError(
        "The API key contains a space, a line break or a character that is not ASCII.",
        hint=f"Set {KEY_VARIABLES} again, copied whole and without quotes.",
    )


def provider_of(base_url: str) -> ProviderName:
    """The provider at a known address; `generic` for any other."""
    return _KNOWN_ADDRESSES.get(base_url, "generic")


def _provider(
    env: Mapping[str, str], key_and_address: KeyAndAddress | None
) -> tuple[ProviderName, str, Secret | None]:
    """The provider, its base URL and its key."""
    named: ProviderName | None = one_of(env, "DOUBLEWORD_BATCH_PROVIDER", ProviderName)
    if named == "local":
        return "local", "", None
    key_and_address = key_and_address or _key_and_address(env, named)
    url = key_and_address.base_url or (OPENAI_BASE_URL if named == "openai" else "")
    if named == "generic" and not url:
        raise ConfigError(
            "DOUBLEWORD_BATCH_PROVIDER=generic needs the server's address.",
            hint="Set DOUBLEWORD_BASE_URL to its base URL, with /v1.",
        )
    if url:
        url = check_base_url(f"{key_and_address.family}_BASE_URL", url)
    if key_and_address.api_key is None and not key_and_address.has_key_function:
        return _without_key(named, url, key_and_address.family)
    url = url or HOSTED_BASE_URL
    return named or provider_of(url), url, key_and_address.api_key


def check_families(env: Mapping[str, str]) -> None:
    """Reject one family's key with the other family's address.

    Either could be meant, and the wrong choice sends rows to another company. A family that has
    both is complete, whatever the other has; an address on this machine needs no key.

    Raises:
        ConfigError: it names both variables.
    """
    named = env.get("DOUBLEWORD_BATCH_PROVIDER", "").strip().lower()
    if named not in {"", "openai"}:
        return
    families = ("DOUBLEWORD", "OPENAI")
    is_set = {
        name: bool(env.get(name, "").strip())
        for family in families
        for name in (f"{family}_API_KEY", f"{family}_BASE_URL")
    }
    for ours, other in (families, families[::-1]):
        key, address = f"{ours}_API_KEY", f"{other}_BASE_URL"
        is_mixed = is_set[key] and is_set[address]
        if not is_mixed or is_set[f"{ours}_BASE_URL"] or is_set[f"{other}_API_KEY"]:
            continue
        if named or not is_loopback(_host(env[address].strip())):
            raise ConfigError(
                f"{key} is set without an address of its own, and {address} without a key of its "
                "own: it is not clear where the rows should go.",
                hint=f"Set {ours}_BASE_URL to go with {key}, or {other}_API_KEY to go with "
                f"{address}, and unset the one you do not mean.",
            )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _without_key(
    named: ProviderName | None, url: str, family: str
) -> tuple[ProviderName, str, None]:
    if named in {"doubleword", "openai"}:
        raise ConfigError(
            f"DOUBLEWORD_BATCH_PROVIDER={named} needs a key, and there is none.",
            hint="Set DOUBLEWORD_API_KEY, or unset DOUBLEWORD_BATCH_PROVIDER to run on this "
            "machine.",
            code="no_key",
        )
    if not url:
        return "local", "", None
    if is_loopback(urlsplit(url).hostname or ""):
        return "generic", url, None
    raise ConfigError(
        f"{family}_BASE_URL is set, but {family}_API_KEY is not.",
        hint=f"Set {family}_API_KEY, or unset {family}_BASE_URL to run on this machine.",
        code="no_key",
    )


def _key_and_address(env: Mapping[str, str], named: ProviderName | None) -> KeyAndAddress:
    """Address and key; a key goes with its own family's address, never with the other's."""
    check_families(env)
    if named == "openai" and env.get("OPENAI_API_KEY"):
        url, key = env.get("OPENAI_BASE_URL", ""), _secret(env, "OPENAI_API_KEY")
        return KeyAndAddress(url, key, family="OPENAI")
    return KeyAndAddress(env.get("DOUBLEWORD_BASE_URL", ""), _secret(env, "DOUBLEWORD_API_KEY"))


def _home(env: Mapping[str, str], given: str | Path | None) -> Path:
    named = str(given) if given else env.get("DOUBLEWORD_BATCH_HOME")
    if named:
        path = full_path("the state directory" if given else "DOUBLEWORD_BATCH_HOME", named)
    else:
        import platformdirs

        path = platformdirs.user_state_path("doubleword-batch", appauthor=False)
    try:
        str(path).encode()
    except UnicodeEncodeError:  # SQLite cannot open any other
        raise ConfigError(
            "The path of the state directory is not UTF-8.",
            hint="Set DOUBLEWORD_BATCH_HOME to another folder.",
        ) from None
    return path


def _roots(listed: str | None) -> tuple[Path, ...]:
    if not listed:
        return _working_directory()
    names = [name for name in listed.split(os.pathsep) if name.strip()]
    roots = tuple(full_path("DOUBLEWORD_BATCH_ROOTS", name) for name in names)
    missing = [f"{root}, which is not a folder" for root in roots if not root.is_dir()]
    if missing or not roots:
        raise ConfigError(
            f"DOUBLEWORD_BATCH_ROOTS names {missing[0] if missing else 'no folder'}.",
            hint=f"List existing folders, separated by {os.pathsep!r}.",
        )
    return roots


def _working_directory() -> tuple[Path, ...]:
    """The working directory, unless it is a whole disk, the system's, or contains the home folder.

    Desktop hosts start their servers there, and nobody meant to expose everything. A home folder
    may be reached by a link, and a Windows folder by its short name.
    """
    try:
        folder, home = Path.cwd(), Path.home().resolve()
        is_system = is_system_folder(folder.resolve(), home, os.environ)
    except (OSError, RuntimeError):
        return ()
    return () if is_system else (folder,)


def _address(env: Mapping[str, str], name: str) -> str | None:
    url = env.get(name)
    return check_base_url(name, url) if url else None


def _secret(env: Mapping[str, str], name: str) -> Secret | None:
    key = env.get(name)
    if key and not _KEY.fullmatch(key):
        raise ConfigError(
            f"{name} contains a space, a line break or a character that is not ASCII.",
            hint=f"Set {name} again, copied whole and without quotes.",
        )
    return Secret(key) if key else None


def _file(env: Mapping[str, str], name: str) -> Path | None:
    path = env.get(name)
    return full_path(name, path) if path else None
