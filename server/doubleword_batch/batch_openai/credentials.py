"""Who a client is and where it asks: from the arguments of `AsyncOpenAI` to settings and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import openai

from doubleword_batch.batch_openai.settings import drop_in_settings
from doubleword_batch.settings import environment

if TYPE_CHECKING:
    from pathlib import Path

    from doubleword_batch.settings import ProviderName, Settings

ARGUMENTS = frozenset({"api_key", "base_url", "data_residency", "provider", "workload_identity"})
"""Those of `AsyncOpenAI` that say who and where."""

OWN_CREDENTIALS = "sent-by-the-sdk"
"""In place of a key, where the SDK has its own way to one; it is never sent."""

_SDK_KNOWS_WHERE = ARGUMENTS - {"api_key", "base_url"}
_NO_KEY = "none"  # the SDK wants one; without a key nothing but the local server is asked
_NOT_KNOWN_YET = "http://127.0.0.1/v1"  # where that server listens, the first call finds out


def plain_settings(
    sdk_options: Mapping[str, Any],
    state_dir: "str | Path | None",
    provider: "ProviderName | None",
) -> "Settings | None":
    """The settings of a key, or a function that gives it, and an address; each may be missing.

    None where the SDK itself finds out where requests go: ask `settings_of` then.

    Raises:
        ConfigError: the arguments or the environment cannot be used.
    """
    if any(sdk_options.get(name) is not None for name in _SDK_KNOWS_WHERE):
        return None
    key = sdk_options.get("api_key")
    base_url = sdk_options.get("base_url")
    return drop_in_settings(
        api_key=OWN_CREDENTIALS if callable(key) else key,
        base_url=str(base_url) if base_url else None,
        state_dir=state_dir,
        provider=provider,
    )


def sdk_arguments(settings: "Settings", api_key: object) -> dict[str, Any]:
    """What the SDK is told of plain settings.

    Args:
        settings: as of `plain_settings`.
        api_key: as the caller gave it; the local server's own takes its place.
    """
    key = settings.api_key.reveal() if settings.api_key else _NO_KEY
    return {
        "api_key": api_key if callable(api_key) and settings.api_key else key,
        "base_url": settings.base_url or _NOT_KNOWN_YET,
    }


def given(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a copy that change something, by the SDK's own rules.

    An empty key or address, None and NotGiven leave the old one; only a provider is taken away by
    None.
    """
    return {
        name: value
        for name, value in changes.items()
        if not isinstance(value, openai.NotGiven)
        and (value is not None or name == "provider")
        and (value or name not in {"api_key", "base_url"})
    }


def copied(
    client: openai.AsyncOpenAI,
    settings: "Settings",
    changes: Mapping[str, Any],
    state_dir: "str | Path | None",
    provider: "ProviderName | None",
) -> "tuple[Settings | None, ProviderName | None, dict[str, Any]]":
    """The settings of a copy whose key or address changes.

    Args:
        client: what is copied.
        settings: its own.
        changes: the copy's arguments, as of `given`.
        state_dir: the copy's, if it changes.
        provider: likewise.

    Returns:
        The settings, None where the SDK finds them out; whose rules hold, None for those that the
        address tells; and what the SDK is told.

    Raises:
        ConfigError: they cannot be used.
    """
    asked = {name: changes[name] for name in ARGUMENTS & changes.keys()}
    stays = not asked.keys() & {"base_url", "data_residency", "provider"}
    is_local = settings.provider == "local"
    if stays and not (is_local and asked):
        provider = provider or settings.provider
    if asked.get("provider", True) is None:
        return None, provider, {}  # the SDK goes back to OpenAI
    if "api_key" not in asked and not is_local:
        own_key = settings.api_key.reveal() if settings.api_key else None
        asked["api_key"] = getattr(client, "_api_key_provider", None) or own_key
        asked.setdefault("workload_identity", getattr(client, "workload_identity", None))
        asked.setdefault("provider", getattr(client, "_provider", None))
    if "base_url" not in asked and not is_local:
        asked["base_url"] = settings.base_url
    found = plain_settings(asked, state_dir or settings.home, provider)
    return found, provider, sdk_arguments(found, asked.get("api_key")) if found else {}


def settings_of(
    client: openai.AsyncOpenAI,
    state_dir: "str | Path | None",
    provider: "ProviderName | None",
) -> "Settings":
    """The settings of a client whose address the SDK has found.

    Raises:
        ConfigError: no batches can be sent there.
    """
    is_named = provider or environment().get("DOUBLEWORD_BATCH_PROVIDER")
    if not is_named and is_openai_s(client):
        provider = "openai"  # a region's address tells it too
    return drop_in_settings(
        api_key=OWN_CREDENTIALS if has_own_credentials(client) else client.api_key,
        base_url=str(client.base_url),
        state_dir=state_dir,
        provider=provider,
    )


def is_openai_s(client: openai.AsyncOpenAI) -> bool:
    """Whether the address is one of OpenAI's own."""
    return f".{client.base_url.host}".endswith(".api.openai.com")


def has_own_credentials(client: openai.AsyncOpenAI) -> bool:
    """Whether the SDK has its own way to what it proves itself with."""
    ways = ("_api_key_provider", "workload_identity", "_provider")
    return any(getattr(client, name, None) for name in ways)


def own_headers(client: openai.AsyncOpenAI, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers without the Authorization of OPENAI_CUSTOM_HEADERS, if the address is another's.

    A key of one provider is never sent to the other's address.
    """
    variables = environment()
    theirs = variables.get("OPENAI_BASE_URL", "").rstrip("/")
    if is_openai_s(client) or str(client.base_url).rstrip("/") == theirs:
        return headers
    pairs = [line.partition(":") for line in variables.get("OPENAI_CUSTOM_HEADERS", "").split("\n")]
    keys = {value.strip() for name, _, value in pairs if name.strip().lower() == "authorization"}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() != "authorization" or value not in keys
    }
