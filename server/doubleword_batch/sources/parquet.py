"""Parquet files as rows, read by DuckDB a few hundred rows at a time."""

import glob
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.sources.base import Row, Source, damaged, no_extra, no_rows, quoted_name
from doubleword_batch.sources.values import without_nan

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_AT_ONCE = 500
_MEMORY_LIMIT = "1GB"
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_AS_THEY_ARE = _INTEGERS | {f"U{name}" for name in _INTEGERS} | {"BOOLEAN", "VARCHAR", "BLOB"}
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_NESTED = ("STRUCT", "MAP", "UNION")


class ParquetSource(Source):
    """Rows of a Parquet file.

    Texts, integers, floats, booleans, bytes, lists and structs keep their types; decimals, dates
    and times become their text, NaN becomes null.

    Raises:
        ConfigError: code `no_extra`.
        InputError: see `open_source`.
    """

    kind = "parquet"

    def __init__(self, location: str, path: Path) -> None:
        # DuckDB takes the path as a pattern
        self._pattern = glob.escape(str(path))
        super().__init__(location, (path,), ())
        with self._reading() as duck:
            found = duck.execute("DESCRIBE SELECT * FROM read_parquet(?)", [self._pattern])
            self._types = {str(name): str(kind) for name, kind, *_ in found.fetchall()}
            counted = "SELECT count(*) FROM read_parquet(?)"
            if duck.execute(counted, [self._pattern]).fetchall() == [(0,)]:
                raise no_rows(path, "there are columns and nothing in them")
        self.columns = tuple(self._types)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns = self.columns
        readers = [(name, made) for name, kind in self._types.items() if (made := _reader(kind))]
        chosen = ", ".join(_selected(name, kind) for name, kind in self._types.items())
        with self._reading() as duck:
            reading = duck.execute(
                f"SELECT {chosen} FROM read_parquet(?)",  # noqa: S608  # names are quoted
                [self._pattern],
            )
            while group := reading.fetchmany(_ROWS_AT_ONCE):
                for values in group:
                    row: Row = dict(zip(columns, values, strict=True))
                    for name, read in readers:
                        row[name] = read(row[name])
                    yield row

    @contextmanager
    def _reading(self) -> "Generator[DuckDBPyConnection]":
        (path,) = self.paths
        duck = duckdb_connection("A Parquet file")
        import duckdb

        try:
            yield duck
        except DoublewordBatchError:
            raise
        except duckdb.OutOfMemoryException:
            raise InputError(
                f"{quoted_name(path)} has row groups that are too large to be read.",
                hint="Write it again with smaller row groups (about 20,000 rows), or as CSV.",
                code="source_too_large",
            ) from None
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise damaged(path, "a Parquet file", str(error).split("\n", maxsplit=1)[0]) from None
        finally:
            duck.close()


def duckdb_connection(kind: str) -> "DuckDBPyConnection":
    """An in-memory DuckDB that loads no extension, writes no temporary file and keeps the order.

    Args:
        kind: what needs it, as the beginning of a message.

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
        "threads": "1",  # more are no faster for rows that go through Python
    }
    return duckdb.connect(":memory:", config=config)


def _selected(name: str, kind: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    if kind in _AS_THEY_ARE or kind in _FLOATS:
        return quoted
    if not _is_nested(kind):
        return f"CAST({quoted} AS VARCHAR)"
    return quoted if _holds_bytes(kind) else f"CAST(to_json({quoted}) AS VARCHAR)"


def _reader(kind: str) -> Callable[[Any], Any] | None:
    """What converts a value of DuckDB, or None if it stays as it is."""
    if kind in _FLOATS or (_is_nested(kind) and _holds_bytes(kind)):
        return without_nan
    return _of_json if _is_nested(kind) else None


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(_NESTED)


def _holds_bytes(kind: str) -> bool:
    return "BLOB" in kind  # such as images, which JSON cannot hold


def _of_json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # it holds NaN
        return without_nan(json.loads(text))
