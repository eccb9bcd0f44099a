"""Packages of the extra `data`, which only some kinds of file need: imported on first use."""

import sys
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

    from duckdb import DuckDBPyConnection

_MEMORY_LIMIT = "1GB"


def duckdb_connection(kind: str) -> "DuckDBPyConnection":
    """An empty DuckDB in memory that loads nothing, spills nothing and reads in order.

    Args:
        kind: what it is wanted for, to begin a message with.

    Raises:
        ConfigError: code `no_extra`.
    """
    try:
        import duckdb
    except ImportError:
        raise no_extra(kind, "duckdb") from None
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": "",
        "threads": "1",  # more of them are no faster for rows that go through Python
    }
    return duckdb.connect(":memory:", config=config)


def zstd_module() -> Any:
    """`compression.zstd` of Python 3.14, or the same from the package `backports.zstd`.

    Raises:
        ConfigError: code `no_extra`.
    """
    module: ModuleType
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd as module
        else:
            from backports import zstd as module
    except ImportError:
        raise no_extra("A file compressed with Zstandard", "backports.zstd") from None
    return module


def no_extra(kind: str, package: str) -> ConfigError:
    """The error for a package that is not installed."""
    return ConfigError(
        f"{kind} needs the package {package}, which is not installed.",
        hint='Install the extra: pip install "doubleword-batch[data]", and start again.',
        code="no_extra",
    )
