"""Who a client is and where it asks: from the arguments of `AsyncOpenAI` to settings and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from doubleword_batch.drop_in.settings import drop_in_settings

if TYPE_CHECKING:
    from pathlib import Path

    import openai

    from doubleword_batch.config import ProviderName, Settings

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
        api_key: as the caller gave it.
    """
    key = settings.api_key.reveal() if settings.api_key else _NO_KEY
    return {
        "api_key": api_key if callable(api_key) else key,
        "base_url": settings.base_url or _NOT_KNOWN_YET,
    }


def copied(
    client: "openai.AsyncOpenAI",
    settings: "Settings",
    changes: Mapping[str, Any],
    state_dir: "str | Path | None",
    provider: "ProviderName | None",
) -> "tuple[Settings | None, dict[str, Any]]":
    """The settings of a copy whose key or address changes, and what the SDK is told of them.

    Args:
        client: what is copied.
        settings: its own.
        changes: the copy's arguments.
        state_dir: the copy's, if it changes.
        provider: likewise.

    Raises:
        ConfigError: they cannot be used.
    """
    asked = {name: changes[name] for name in ARGUMENTS if changes.get(name) is not None}
    if "api_key" not in asked:
        own_key = settings.api_key.reveal() if settings.api_key else None
        asked["api_key"] = getattr(client, "_api_key_provider", None) or own_key
        asked.setdefault("workload_identity", getattr(client, "workload_identity", None))
        asked.setdefault("provider", getattr(client, "_provider", None))
    if "base_url" not in asked and settings.provider != "local":
        asked["base_url"] = settings.base_url
        provider = provider or settings.provider
    found = plain_settings(asked, state_dir or settings.home, provider)
    return found, sdk_arguments(found, asked["api_key"]) if found else {}


def settings_of(
    client: "openai.AsyncOpenAI",
    state_dir: "str | Path | None",
    provider: "ProviderName | None",
) -> "Settings":
    """The settings of a client whose address the SDK has found.

    Raises:
        ConfigError: no batches can be sent there.
    """
    of_openai = not getattr(client, "_provider", None)
    return drop_in_settings(
        api_key=OWN_CREDENTIALS if has_own_credentials(client) else client.api_key,
        base_url=str(client.base_url),
        state_dir=state_dir,
        provider=provider or ("openai" if of_openai else None),
    )


def has_own_credentials(client: "openai.AsyncOpenAI") -> bool:
    """Whether the SDK has its own way to what it proves itself with."""
    ways = ("_api_key_provider", "workload_identity", "_provider")
    return any(getattr(client, name, None) for name in ways)
