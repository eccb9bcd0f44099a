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
    from doubleword_batch.batch_openai.errors import BatchCallError, CallTimeoutError

__all__ = ["BatchCallError", "BatchOpenAI", "CallTimeoutError"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("openai") is None:
        from doubleword_batch.extra_packages import missing_extra

        raise missing_extra("BatchOpenAI", "openai")
    from doubleword_batch.batch_openai import client, errors

    return getattr(client if name == "BatchOpenAI" else errors, name)
