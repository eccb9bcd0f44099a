"""Bulk inference for AI agents over the Doubleword Batch API and every server of its shape.

The names of `__all__` are the library; each is imported when it is first used, so that the server
and the command line start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doubleword_batch.api import BatchClient
    from doubleword_batch.batch_openai import BatchOpenAI
    from doubleword_batch.errors import DoublewordBatchError
    from doubleword_batch.local import LocalConfig, LocalServer

__all__ = ["BatchClient", "BatchOpenAI", "DoublewordBatchError", "LocalConfig", "LocalServer"]

_HOMES = {
    "BatchClient": "api",
    "BatchOpenAI": "batch_openai",
    "DoublewordBatchError": "errors",
    "LocalConfig": "local",
    "LocalServer": "local",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
