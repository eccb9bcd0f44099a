"""Resolves arguments and environment to settings: which server a client calls, and with which key.

A key and the address it is sent to come from one family of variables: DOUBLEWORD_* first, then
OPENAI_*. One provider's key is never sent to another's address.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from doubleword_batch.errors import ConfigError
from doubleword_batch.settings import (
    KeyAndAddress,
    ProviderName,
    Secret,
    Settings,
    check_families,
    environment,
)
from doubleword_batch.variables import OPENAI_BASE_URL

KeyFunction = Callable[[], Awaitable[str]]
"""Gives a key for each request; called in the callers' event loop."""

LIVE_ONLY = {
    "data_residency": "give the region's address as base_url, such as "
    "https://eu.api.openai.com/v1, and batch_provider='openai'",
    "provider": "give the server's address as base_url, and its key, or an asynchronous function "
    "that returns one, as api_key",
    "workload_identity": "give an asynchronous function that returns an access token as api_key",
}
"""Arguments of `AsyncOpenAI` that apply to live calls only, and what to use for batches instead."""

_SDK_NEEDS_A_KEY = "none"  # for a server that needs none; the SDK insists on a key
_SDK_NEEDS_AN_ADDRESS = "http://127.0.0.1/v1"  # until the first call finds the real one


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and its server as a caller gave them; the environment supplies what is missing.

    Attributes:
        key: the key, or the function that gives it.
        base_url: the API, with `/v1`.
        provider: whose rules apply; None to recognise it by the address.
    """

    key: Secret | KeyFunction | None = None
    base_url: str | None = None
    provider: ProviderName | None = None

    @classmethod
    def of(
        cls, api_key: str | KeyFunction | None, base_url: object, provider: ProviderName | None
    ) -> "Credentials":
        """From a client's arguments; empty ones count as missing."""
        key = api_key if callable(api_key) else Secret(api_key) if api_key else None
        return cls(key, str(base_url) if base_url else None, provider)

    @property
    def key_function(self) -> KeyFunction | None:
        """The function that gives the key, if it is one."""
        return self.key if callable(self.key) else None

    def changed(self, changes: "Credentials", settings: Settings) -> "Credentials":
        """For a copy: the changes, and what stays of these credentials with their `settings`."""
        is_local = settings.provider == "local"
        moves = changes.base_url is not None or (is_local and changes.key is not None)
        if not moves:
            changes = replace(changes, provider=changes.provider or settings.provider)
        if is_local:
            return changes  # nothing here was given by a caller
        return replace(
            changes,
            key=changes.key or self.key_function or settings.api_key,
            base_url=changes.base_url or settings.base_url,
        )

    def sdk_arguments(self, settings: Settings) -> dict[str, Any]:
        """The `api_key` and `base_url` that make the SDK send live calls to the same server."""
        text = settings.api_key.reveal() if settings.api_key else _SDK_NEEDS_A_KEY
        key_function = self.key_function if settings.base_url else None
        return {
            "api_key": key_function or text,
            "base_url": settings.base_url or _SDK_NEEDS_AN_ADDRESS,
        }


def resolve_settings(
    credentials: Credentials | None = None,
    *,
    state_dir: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a client or proxy; what is not given comes from the environment.

    Args:
        credentials: replace the environment's key, address and provider.
        state_dir: replaces DOUBLEWORD_BATCH_HOME.
        environ: the variables; the process's own by default.

    Raises:
        ConfigError: they cannot be used; the message names the variable.
    """
    credentials = credentials or Credentials()
    variables = environment() if environ is None else environ
    named = credentials.provider or variables.get("DOUBLEWORD_BATCH_PROVIDER", "").strip().lower()
    has_own_key = credentials.key is not None
    if not has_own_key and credentials.base_url is None:
        check_families({**variables, "DOUBLEWORD_BATCH_PROVIDER": named})
    found = _from_variables(variables, named, has_own_key=has_own_key)
    if has_own_key:
        own_key = credentials.key if isinstance(credentials.key, Secret) else None
        has_function = credentials.key_function is not None
        found = replace(found, api_key=own_key, has_key_function=has_function)
    if credentials.base_url:
        found = replace(found, base_url=credentials.base_url)
    return Settings.from_environment(
        variables, provider=credentials.provider, key_and_address=found, home=state_dir
    )


def _from_variables(
    variables: Mapping[str, str], named: str, *, has_own_key: bool
) -> KeyAndAddress:
    """Key and address from the family of variables that applies."""

    def family(name: str) -> tuple[str, str]:
        key, base_url = variables.get(f"{name}_API_KEY", ""), variables.get(f"{name}_BASE_URL", "")
        return key.strip(), base_url.strip()

    ours, openais = family("DOUBLEWORD"), family("OPENAI")
    if named == "openai":
        is_openais = bool(openais[0]) or has_own_key
    else:
        is_openais = not named and any(openais) and not any(ours)
    key, base_url = openais if is_openais else ours
    if is_openais and not named and not has_own_key:
        base_url = base_url or OPENAI_BASE_URL
    return KeyAndAddress(
        base_url, Secret(key) if key else None, family="OPENAI" if is_openais else "DOUBLEWORD"
    )


def live_only_error(arguments: Mapping[str, Any]) -> ConfigError | None:
    """Why a client with these arguments of `AsyncOpenAI` runs no batches; None if it does."""
    given = [name for name in LIVE_ONLY if arguments.get(name) is not None]
    if not given:
        return None
    return ConfigError(
        f"A client with {given[0]}= makes live calls only, and this call would run in a batch.",
        hint=f"For batches, create another BatchOpenAI without it: {LIVE_ONLY[given[0]]}. To send "
        "such calls live from this one, at live prices, create it with unbatchable='live'.",
        code="not_batchable",
    )


def without_foreign_key(base_url: str, headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The headers without OPENAI_CUSTOM_HEADERS' Authorization, unless they go to OpenAI's server.

    The address in OPENAI_BASE_URL counts as OpenAI's too.
    """
    variables = environment()
    openais = variables.get("OPENAI_BASE_URL", "").rstrip("/")
    is_openais_host = f".{urlsplit(base_url).hostname}".endswith(".api.openai.com")
    if is_openais_host or base_url.rstrip("/") == openais:
        return headers
    pairs = [line.partition(":") for line in variables.get("OPENAI_CUSTOM_HEADERS", "").split("\n")]
    keys = {value.strip() for name, _, value in pairs if name.strip().lower() == "authorization"}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() != "authorization" or value not in keys
    }
