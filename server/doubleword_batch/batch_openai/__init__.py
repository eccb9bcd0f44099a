"""Realtime code at batch prices: `BatchOpenAI`, and the proxy for programs in any language.

Calls made at the same time run in batches; each caller gets its own answer as soon as it arrives.
The path of a call: `client` or `proxy` accepts it, `batching_thread` passes it to its own thread,
`dispatcher` finds it an answer that was already paid for (`answer_cache`) or a group (`batcher`),
each group becomes a job that `batch_task` submits and follows (`poller`), and `call` delivers the
outcome to the caller's event loop. Only `client` and what it imports need the `openai` package.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.client import BatchOpenAI
    from doubleword_batch.batch_openai.sdk_errors import BatchCallError, CallTimeoutError
    from doubleword_batch.errors import ConfigError

__all__ = ["BatchCallError", "BatchOpenAI", "CallTimeoutError"]


class _WithoutOpenAI:
    """`BatchOpenAI` where `openai` is not installed: `dir`, `help` and `import *` work there, too.

    Raises:
        ConfigError: code `no_extra`; its hint says how to install it.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise _missing_openai()


def _missing_openai() -> "ConfigError":
    from doubleword_batch.extra_packages import missing_extra

    return missing_extra("BatchOpenAI", "openai")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("openai") is None:
        if name == "BatchOpenAI":
            return _WithoutOpenAI
        raise _missing_openai()
    from doubleword_batch.batch_openai import client, sdk_errors

    return getattr(client if name == "BatchOpenAI" else sdk_errors, name)
