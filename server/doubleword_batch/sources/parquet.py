"""Parquet files as rows, read by DuckDB; rows are taken one by one, as a row may be large."""

import glob
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleword_batch.errors import DoublewordBatchError, InputError, quote_untrusted
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.sources.arrow_metadata import KEY, Field, arrow_fields
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    damaged,
    no_rows,
    quoted_identifier,
    quoted_name,
)
from doubleword_batch.sources.header import name_columns, note_unnamed
from doubleword_batch.sources.parquet_types import (
    ColumnReader,
    SchemaNode,
    column_reader,
    list_depth,
    schema_tree,
    size_of,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_LIMIT = "1GB"
_NAMES_SHOWN = 5
_DEEPEST_LISTS = 12  # each further list doubles DuckDB's time: 12 s for 22 lists, hours for 40
# What DuckDB puts before a reason: the type of error, and the path, which may fill the message.
_PATH = re.compile(r"^\w+(?: \w+)* Error: (?:Failed to read (?:Parquet )?file \".*?\": )?")
_NOT_READ = {
    "TIME values must be within a day": (
        "holds times of more than a day, as fastparquet writes durations",
        "Write it with pyarrow (in pandas engine='pyarrow'), or as CSV.",
    ),
    "Map keys must be unique": (
        "holds a map that has a key twice",
        "Keep one value for each key, or write the map as a list of structs.",
    ),
    "Could not convert Timestamp": (
        "holds a time that lies hundreds of thousands of years away",
        "Write null or a text in its place.",
    ),
}
_FILE = "read_parquet(?, hive_partitioning = false)"  # a folder `k=5` is not a column of the file


class ParquetSource(Source):
    """Rows of a Parquet file.

    Texts, integers, floats, booleans, bytes, lists, structs and maps keep their types; decimals,
    dates and times become their text, those with a time zone in UTC, durations `30:15:00`; NaN
    becomes null.

    Raises:
        ConfigError: code `no_extra`.
        InputError: see `open_source`.
    """

    kind = "parquet"

    def __init__(self, location: str, path: Path) -> None:
        # DuckDB takes the path as a pattern
        self._pattern = glob.escape(str(path))
        super().__init__(location, (path,))
        with self._reading() as duck:
            found = duck.execute(f"SELECT * FROM {_FILE} LIMIT 0", [self._pattern])  # noqa: S608  # a constant
            described = [(str(name), kind) for name, kind, *_ in found.description or ()]
            if any(list_depth(kind) > _DEEPEST_LISTS for _, kind in described):
                raise _too_deep(path)
            nodes, fields = self._descriptions(duck, len(described))
            counted = f"SELECT count(*) FROM {_FILE}"  # noqa: S608  # a constant
            if duck.execute(counted, [self._pattern]).fetchall() == [(0,)]:
                raise no_rows(path, "there are columns and nothing in them")
        # names that differ only by case are distinct in the file, but not in DuckDB
        own = [
            node.name if node else name for (name, _), node in zip(described, nodes, strict=True)
        ]
        names = name_columns(self, own, strip=False)
        note_unnamed(self, names, ())
        self.columns = names.columns
        columns = [
            column_reader(kind, node, field)
            for (_, kind), node, field in zip(described, nodes, fields, strict=True)
        ]
        self._readers = [
            (name, column.read)
            for name, column in zip(self.columns, columns, strict=True)
            if column.read
        ]
        self._select = _select(described, columns)
        self._note_long_decimals(nodes)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns, readers = self.columns, self._readers
        with self._reading() as duck:
            reading = duck.execute(self._select, [self._pattern])
            number = 0
            while fetched := reading.fetchone():
                number += 1
                size_bytes, *values = fetched
                if size_bytes > MAX_RECORD_BYTES:
                    raise _row_too_large(self.paths[0], number)
                row: Row = dict(zip(columns, values, strict=True))
                for name, read in readers:
                    row[name] = read(row[name])
                yield row

    def _descriptions(
        self, duck: "DuckDBPyConnection", width: int
    ) -> tuple[Sequence[SchemaNode | None], Sequence[Field | None]]:
        """The columns in the file's own schema and in Arrow's; None if they do not match."""
        flat = duck.execute(
            "SELECT name, logical_type, num_children FROM parquet_schema(?)", [self._pattern]
        ).fetchall()
        nodes = schema_tree(flat)
        kept = duck.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE key = ?",
            [self._pattern, KEY.encode()],
        ).fetchone()
        fields = arrow_fields(kept[0]) if kept else ()
        nothing = (None,) * width
        return (
            nodes if len(nodes) == width else nothing,
            fields if len(fields) == width else nothing,
        )

    def _note_long_decimals(self, nodes: Sequence[SchemaNode | None]) -> None:
        long = [node.name for node in nodes if node and node.has_long_decimals]
        if long:
            shown = ", ".join(quote_untrusted(name, 60) for name in long[:_NAMES_SHOWN])
            self.note(
                "long_decimals",
                f"Decimals of more than 38 digits are read with about 16 of them: {shown}.",
            )

    @contextmanager
    def _reading(self) -> "Generator[DuckDBPyConnection]":
        (path,) = self.paths
        duck = duckdb_connection("A Parquet file")
        import duckdb

        try:
            duck.execute("SET TimeZone = 'UTC'")  # otherwise times would depend on the machine
            yield duck
        except DoublewordBatchError:
            raise
        except duckdb.OutOfMemoryException:
            raise InputError(
                f"{quoted_name(path)} has row groups that are too large to be read.",
                hint="Write it again with smaller row groups (about 20,000 rows), or as CSV.",
                code="source_too_large",
            ) from None
        except (duckdb.Error, UnicodeDecodeError, RecursionError) as error:
            reason = _PATH.sub("", str(error).split("\n", maxsplit=1)[0])
            if "encrypt" in reason.lower():
                raise _encrypted(path) from None
            if "non-root column" in reason:
                raise no_rows(path, "it has no columns") from None
            for words, (what, hint) in _NOT_READ.items():
                if words in reason:
                    raise _not_read(path, what, hint) from None
            raise damaged(path, "a Parquet file", reason) from None
        finally:
            duck.close()


def duckdb_connection(kind: str) -> "DuckDBPyConnection":
    """An in-memory DuckDB that loads no extension, writes no temporary file and keeps the order.

    Args:
        kind: what needs it, for the beginning of a message.

    Raises:
        ConfigError: code `no_extra`.
    """
    try:
        import duckdb
    except ImportError:
        raise missing_extra(kind, "duckdb") from None
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": "",
        "threads": "1",  # more threads are not faster for rows that go through Python
    }
    duck = duckdb.connect(":memory:", config=config)
    duck.execute("SET enable_progress_bar = false")  # stdout is the MCP server's protocol
    return duck


def _select(described: Sequence[tuple[str, Any]], columns: Sequence[ColumnReader]) -> str:
    """The SELECT of each row's size and values; nested values are null if the row is too large.

    In Python, a list of many small values takes many times the memory, so it is not passed on.
    """
    sizes = [size_of(quoted_identifier(name), kind) for name, kind in described]
    selected = [
        _selected(name, column) for (name, _), column in zip(described, columns, strict=True)
    ]
    size = " + ".join(f"coalesce({size}, 0)" for size in sizes if size) or "0"
    shown = [
        f"CASE WHEN {size} <= {MAX_RECORD_BYTES} THEN {value} END" if nested else value
        for value, nested in zip(selected, sizes, strict=True)
    ]
    return f"SELECT {size}, {', '.join(shown)} FROM {_FILE}"  # noqa: S608  # names are quoted


def _encrypted(path: Path) -> InputError:
    """The error for a Parquet file that is partly or completely encrypted."""
    return InputError(
        f"{quoted_name(path)} is an encrypted Parquet file; those are not read.",
        hint="Write it without encryption, or as CSV or JSON Lines.",
        code="unsupported_kind",
    )


def _not_read(path: Path, what: str, hint: str) -> InputError:
    """The error for a valid file with values that DuckDB cannot represent."""
    return InputError(f"{quoted_name(path)} {what}.", hint=hint, code="unsupported_kind")


def _too_deep(path: Path) -> InputError:
    return InputError(
        f"{quoted_name(path)} has a column of lists in lists, more than {_DEEPEST_LISTS} deep.",
        hint="Unnest that column, or write it as a column of JSON texts.",
        code="source_too_large",
    )


def _row_too_large(path: Path, row: int) -> InputError:
    return InputError(
        f"Row {row} of {quoted_name(path)} has more than {MAX_RECORD_BYTES >> 20} MiB.",
        hint="No request can hold it: leave that row out, or shorten its values.",
        code="source_too_large",
        details={"row": row},
    )


def _selected(name: str, column: ColumnReader) -> str:
    chosen = quoted_identifier(name)
    for cast in column.casts or ():
        chosen = f"CAST({chosen} AS {cast})"
    return chosen
