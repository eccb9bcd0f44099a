"""The built-in model, brought before the demo starts where it is the model's turn to answer."""

import importlib.util
from collections.abc import Callable

from doubleword_batch.errors import ConfigError
from doubleword_batch.settings import Settings


def needs_model(settings: Settings) -> bool:
    """Whether the bundled model is to answer and is not there yet.

    Raises:
        ConfigError: code `no_extra`: what runs the model is not installed.
    """
    if settings.local_executor not in {None, "builtin"}:
        return False
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(
            "The demo's model cannot run here: the extra `local` is not installed.",
            hint='Install it with `pip install "doubleword-batch[local]"`.',
            code="no_extra",
        )
    from doubleword_batch.local.model_download import model_files

    return settings.local_model is None and model_files(settings.home) is None


def fetch_model(settings: Settings, on_progress: Callable[[float, float | None], None]) -> None:
    """Fetch the bundled model; what `on_progress` raises ends the download, and nothing stays.

    Raises:
        ConfigError: code `pull_failed`, with the ways out.
    """
    from doubleword_batch.local.model_download import pull

    pull(settings.home, lambda _name, done, total: on_progress(done, total))
