"""Realtime code at batch prices: `BatchOpenAI`, and the proxy for programs in any language.

Calls that run at the same time are gathered into batches; each caller gets its own answer as it
lands. Only `client.py` and what it imports need the `openai` package; the proxy does not.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.client import BatchOpenAI
    from doubleword_batch.batch_openai.errors import BatchCallError, CallTimeoutError

__all__ = ["BatchCallError", "BatchOpenAI", "CallTimeoutError"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("openai") is None:
        from doubleword_batch.errors import ConfigError

        raise ConfigError(
            "BatchOpenAI needs the openai package, which is not installed.",
            hint='Install it with: pip install "doubleword-batch[openai]"',
            code="no_openai",
        )
    from doubleword_batch.batch_openai import client, errors

    return getattr(client if name == "BatchOpenAI" else errors, name)
