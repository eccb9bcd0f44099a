"""From the drop-in's arguments and the environment to settings.

A key and the address it is sent to come from one family of variables: DOUBLEWORD_* first, then
OPENAI_*. A key of one provider is never sent to the other's address.
"""

from collections.abc import Mapping
from pathlib import Path

from doubleword_batch.settings import OPENAI_BASE_URL, ProviderName, Settings, environment


def drop_in_settings(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    state_dir: str | Path | None = None,
    provider: ProviderName | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of one client; what is not given comes from the environment.

    Args:
        api_key: in place of DOUBLEWORD_API_KEY and OPENAI_API_KEY.
        base_url: in place of DOUBLEWORD_BASE_URL and OPENAI_BASE_URL.
        state_dir: in place of DOUBLEWORD_BATCH_HOME.
        provider: in place of DOUBLEWORD_BATCH_PROVIDER.
        environ: the variables; the process's own by default.

    Raises:
        ConfigError: they cannot be used; the message names the variable.
    """
    env = environment() if environ is None else dict(environ)
    if provider:
        env["DOUBLEWORD_BATCH_PROVIDER"] = provider
    if state_dir:
        env["DOUBLEWORD_BATCH_HOME"] = str(state_dir)
    _fall_back(env, api_key, base_url)
    return Settings.from_environment(env)


def _fall_back(env: dict[str, str], api_key: str | None, base_url: str | None) -> None:
    ours = env.get("DOUBLEWORD_API_KEY") or env.get("DOUBLEWORD_BASE_URL")
    theirs = env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL")
    provider_is_named = bool(env.get("DOUBLEWORD_BATCH_PROVIDER"))
    use_theirs = not ours and bool(theirs) and not provider_is_named
    if use_theirs:
        env["DOUBLEWORD_API_KEY"] = env.get("OPENAI_API_KEY", "")
        env["DOUBLEWORD_BASE_URL"] = env.get("OPENAI_BASE_URL") or (
            OPENAI_BASE_URL if not api_key else ""
        )
    if api_key:
        env["DOUBLEWORD_API_KEY"] = env["OPENAI_API_KEY"] = api_key
    if base_url:
        env["DOUBLEWORD_BASE_URL"] = env["OPENAI_BASE_URL"] = base_url
