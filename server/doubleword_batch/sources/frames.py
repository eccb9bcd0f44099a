"""Tables in memory as rows of Python's values: frames of pandas and polars, and streams of Arrow.

Numbers of 16 and 32 bits become numbers of 64 bits with the digits that their libraries show:
19.99, which would be 19.989999771118164 in Python. Times in nanoseconds are passed on as whole
numbers, because the libraries would cut them to what Python's times can hold.
"""

from collections.abc import Generator, Iterable, Sequence
from importlib import import_module
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.sources.base import Row
from doubleword_batch.sources.column_readers import (
    CLOCK,
    ELAPSED,
    Read,
    extension_reader,
    list_reader,
    map_reader,
    moment_reader,
    struct_reader,
)
from doubleword_batch.sources.values import shortest_decimal

_ROWS_AT_ONCE = 500


def rows_of_pandas(frame: Any) -> Generator[Row]:
    """The rows of a pandas frame; levels of its index are columns where they have names."""
    frame = _with_named_index(frame)
    names = unique_names([str(name) for name in frame.columns])
    readers = _readers(zip(names, map(_of_pandas, frame.dtypes), strict=True))
    frame = _counted_pandas(frame)
    for values in frame.itertuples(index=False, name=None):
        yield _read(dict(zip(names, values, strict=True)), readers)


def _with_named_index(frame: Any) -> Any:
    """The frame with its keys, as `groupby` and `set_index` leave them, as the first columns."""
    taken = {str(name) for name in frame.columns}
    keys = [name for name in frame.index.names if name is not None and str(name) not in taken]
    if not keys:
        return frame
    others = [at for at, name in enumerate(frame.index.names) if name not in keys]
    if others:
        frame = frame.droplevel(others)
    return frame.reset_index(allow_duplicates=True)  # refused by `unique_names`


def rows_of_polars(frame: Any) -> Generator[Row]:
    """The rows of a polars frame."""
    readers = _readers((name, _of_polars(kind)) for name, kind in frame.schema.items())
    counted = {name: _counted_of_polars(kind) for name, kind in frame.schema.items()}
    frame = frame.cast({name: kind for name, kind in counted.items() if kind != frame.schema[name]})
    for row in frame.iter_rows(named=True):
        yield _read(row, readers)


def rows_of_arrow(data: Any) -> Generator[Row]:
    """The rows of an object with `__arrow_c_stream__`.

    Raises:
        ConfigError: code `no_extra`: pyarrow is not installed.
        InputError: code `invalid_argument`: it is not a table; or `malformed_row`: two columns have
            the same name.
    """
    try:
        arrow = import_module("pyarrow")
    except ImportError:
        raise missing_extra(
            f"Reading a {type(data).__name__}",
            "pyarrow",
            otherwise="Give an iterable of dictionaries",
        ) from None
    try:
        with arrow.RecordBatchReader.from_stream(data) as batches:
            unique_names(batches.schema.names)
            readers = _readers((field.name, _of_field(field)) for field in batches.schema)
            counted = arrow.schema(
                [field.with_type(_counted_of_arrow(field.type)) for field in batches.schema]
            )
            has_finer = counted.types != batches.schema.types
            for read in batches:
                read.validate(full=True)  # wrong offsets would crash the process
                batch = read.cast(counted) if has_finer else read
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    rows = batch.slice(start, _ROWS_AT_ONCE).to_pylist(maps_as_pydicts="strict")
                    yield from (_read(row, readers) for row in rows)
    except (arrow.ArrowException, ValueError, OverflowError, KeyError) as error:
        raise InputError(
            f"The Arrow stream of a {type(data).__name__} cannot be read as rows: "
            f"{quote_untrusted(str(error))}.",
            hint="Give a table: named columns of plain values.",
        ) from None


def unique_names(names: list[str]) -> list[str]:
    """The names, after checking that no two are the same.

    Raises:
        InputError: code `malformed_row`.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(
                f"Two columns are called {quote_untrusted(name, 60)}.",
                hint="Rename one of them.",
                code="malformed_row",
            )
        seen.add(name)
    return names


def _readers(columns: Iterable[tuple[str, Read | None]]) -> list[tuple[str, Read]]:
    return [(name, read) for name, read in columns if read]


def _read(row: Row, readers: Sequence[tuple[str, Read]]) -> Row:
    for name, read in readers:
        row[name] = read(row[name])
    return row


def _of_pandas(kind: Any) -> Read | None:
    """The reader of a pandas frame's column; None if its values stay as they are."""
    if (inner := getattr(kind, "pyarrow_dtype", None)) is not None:
        return _of_arrow(inner)
    if (categories := getattr(kind, "categories", None)) is not None:
        return _of_pandas(categories.dtype)
    if (dense := getattr(kind, "subtype", None)) is not None:  # sparse columns, intervals
        return _of_pandas(dense)
    if getattr(kind, "kind", "") != "f":
        return None
    return {2: _half, 4: _single}.get(getattr(kind, "itemsize", 0))


def _of_polars(kind: Any) -> Read | None:
    name = type(kind).__name__
    if name in _PLAIN_OF_POLARS:
        return _PLAIN_OF_POLARS[name]
    if getattr(kind, "time_unit", None) == "ns":
        return moment_reader(kind.time_zone) if name == "Datetime" else ELAPSED
    if name in {"List", "Array"}:
        return list_reader(_of_polars(kind.inner))
    if name == "Map":
        return map_reader(_of_polars(kind.key), _of_polars(kind.value))
    if name == "Struct":
        return struct_reader([(field.name, _of_polars(field.dtype)) for field in kind.fields])
    return None


def _of_field(field: Any) -> Read | None:
    """The reader of an Arrow column; until pandas is imported, its metadata has the extension."""
    metadata: dict[bytes, bytes] = field.metadata or {}
    name = metadata.get(b"ARROW:extension:name", b"")
    beside = metadata.get(b"ARROW:extension:metadata", b"")
    return extension_reader(name, beside, _of_arrow(field.type))


def _of_arrow(kind: Any) -> Read | None:  # noqa: PLR0911  # one kind of type after the other
    types = import_module("pyarrow").types
    if types.is_float32(kind):
        return _single
    if types.is_float16(kind):
        return _half
    if types.is_map(kind):
        return map_reader(_of_arrow(kind.key_type), _of_arrow(kind.item_type))
    if types.is_struct(kind):
        return struct_reader([(field.name, _of_arrow(field.type)) for field in kind])
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _of_arrow(kind.value_type)
    if getattr(kind, "storage_type", None) is not None:  # an extension type has one
        name = kind.extension_name.encode()
        return extension_reader(name, _metadata(kind), _of_arrow(kind.storage_type))
    if getattr(kind, "value_type", None) is not None:  # every kind of list has one
        return list_reader(_of_arrow(kind.value_type))
    return _finer_of_arrow(kind)


def _finer_of_arrow(kind: Any) -> Read | None:
    if getattr(kind, "unit", None) != "ns":
        return None
    types = import_module("pyarrow").types
    if types.is_timestamp(kind):
        return moment_reader(kind.tz)
    return CLOCK if types.is_time(kind) else ELAPSED


def _metadata(kind: Any) -> bytes:
    """The metadata of an extension type; empty for Arrow's own types."""
    write = getattr(kind, "__arrow_ext_serialize__", None)
    return write() if write else b""


def _counted_of_arrow(kind: Any) -> Any:  # noqa: PLR0911  # one kind of type after the other
    """The type with whole numbers for times in nanoseconds, if Arrow can cast to it."""
    arrow = import_module("pyarrow")
    types = arrow.types
    if _finer_of_arrow(kind):
        return arrow.int64()
    if types.is_struct(kind):
        return arrow.struct([field.with_type(_counted_of_arrow(field.type)) for field in kind])
    if types.is_map(kind):
        return arrow.map_(_counted_of_arrow(kind.key_type), _counted_of_arrow(kind.item_type))
    if types.is_dictionary(kind) and _finer_of_arrow(kind.value_type):
        return arrow.int64()
    if types.is_large_list(kind):
        return arrow.large_list(_counted_of_arrow(kind.value_type))
    if types.is_fixed_size_list(kind):
        return arrow.list_(_counted_of_arrow(kind.value_type), kind.list_size)
    return arrow.list_(_counted_of_arrow(kind.value_type)) if types.is_list(kind) else kind


def _counted_of_polars(kind: Any) -> Any:
    """The type with whole numbers for times in nanoseconds."""
    polars = import_module("polars")
    name = type(kind).__name__
    if name == "Time" or getattr(kind, "time_unit", None) == "ns":
        return polars.Int64() if _of_polars(kind) else kind
    if name == "List":
        return polars.List(_counted_of_polars(kind.inner))
    if name == "Array":
        return polars.Array(_counted_of_polars(kind.inner), kind.size)
    if name == "Struct":
        inner = [polars.Field(field.name, _counted_of_polars(field.dtype)) for field in kind.fields]
        return polars.Struct(inner)
    return kind


def _counted_pandas(frame: Any) -> Any:
    """The frame with whole numbers for times in nanoseconds in its columns of Arrow's types."""
    counted = {
        place: type(kind)(_counted_of_arrow(kind.pyarrow_dtype))
        for place, kind in enumerate(frame.dtypes)
        if hasattr(kind, "pyarrow_dtype")
    }
    changed = {at: kind for at, kind in counted.items() if kind != frame.dtypes.iloc[at]}
    if not changed:
        return frame
    frame = frame.copy(deep=False)
    for place, kind in changed.items():
        frame.isetitem(place, frame.iloc[:, place].astype(kind))
    return frame


def _single(value: Any) -> Any:
    return shortest_decimal(value, 32) if isinstance(value, float) else value


def _half(value: Any) -> Any:
    return shortest_decimal(float(value), 16) if isinstance(value, float) else value


_PLAIN_OF_POLARS: dict[str, Read] = {"Float32": _single, "Float16": _half, "Time": CLOCK}
