"""The table of answers that a job wrote, as rows and as data frames."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from doubleword_batch.errors import InputError
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.paths import Roots

if TYPE_CHECKING:
    from doubleword_batch.jobs.replies import Results

TableFormat = Literal["jsonl", "csv", "parquet"]
"""How tables of answers are written."""


_INTEGERS = 1 << 63  # 64-bit integers on each side of 0
_EXACT = 1 << 53  # up to this, a float is exact for every integer


@dataclass(frozen=True, slots=True, repr=False)
class JobResults:
    """The table of answers as it was written, with the reply about it.

    Attributes:
        reply: the ledger's sums, cost, errors by cause, samples, the query's result.
        format: the table's format, None if the path's extension says it.
    """

    reply: "Results"
    format: TableFormat | None = None

    def __repr__(self) -> str:
        """One line with the job, its rows by outcome, its cost, and where the table is."""
        from doubleword_batch.jobs.replies import usd_text

        reply = self.reply
        outcomes = [f"{rows:,} {outcome}" for outcome, rows in reply.ledger.items() if rows]
        parts = [f"{reply.rows:,} {'row' if reply.rows == 1 else 'rows'}", *outcomes]
        cost = usd_text(reply.cost_usd) if reply.cost_usd else reply.cost_note
        parts.append("cost unknown" if reply.cost_usd is None else cost)
        table = "" if reply.output_path is None else f", {reply.output_path!r}"
        return f"JobResults({reply.job!r}: {', '.join(parts)}{table})"

    @property
    def path(self) -> Path:
        """Where the table is.

        Raises:
            InputError: none was written, because only a query was run.
        """
        if self.reply.output_path is None:
            raise InputError(
                "No table was written: only a query was run.",
                hint="Give an output_path, or get the results without a query.",
            )
        return Path(self.reply.output_path)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table's rows, one dictionary each, streamed in source order.

        In JSON Lines (the default) values have their types; in CSV everything is text, and Parquet
        has lists and objects as JSON text.
        """
        path = self.path
        try:
            yield from self._rows(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The table {path} is gone or was changed: {error}.",
                hint="Write it again, with the job's results.",
                code="not_readable",
            ) from None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    def as_source(self) -> str:
        """What a job over these answers has as its source.

        Raises:
            InputError: they are the answer to a query.
        """
        name = self.reply.job
        if self.reply.query is None:
            return f"job:{name}"
        raise InputError(
            "Results with a query are not a source.",
            hint=f"Give the text job:{name}::SELECT ... as the source.",
        )

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        written = self.format or path.suffix.lower().lstrip(".")
        if written == "parquet":
            from doubleword_batch.sources import open_source

            yield from open_source(str(path), Roots(None)).rows()
        elif written == "csv":
            from doubleword_batch.sources.csv_records import CsvRecords, Dialect

            with path.open("rb") as stream:  # the csv module refuses texts over 128 KiB
                records = iter(CsvRecords(stream, path, Dialect(0, b",", b"\n"), takes_nul=True))
                columns = next(records, list[str]())
                for record in records:
                    yield dict(zip(columns, record, strict=True))
        else:
            import msgspec

            with path.open("rb") as lines:
                for line in lines:
                    yield msgspec.json.decode(line)

    def to_pandas(self) -> Any:
        """The table as a pandas data frame.

        Whole numbers with gaps are `Int64` or `UInt64`, truths with gaps are `boolean`.

        Raises:
            ConfigError: code `no_extra`: pandas is not installed.
        """
        pandas = _installed("pandas")
        rows = list(self.rows())
        frame = pandas.DataFrame(rows)
        for name in frame.columns:
            values = [row.get(name) for row in rows]
            kinds = set(map(type, values))
            if kinds == {int, type(None)}:  # a float would lose their digits
                frame[name] = _whole_numbers(pandas, values)
            elif kinds == {bool, type(None)}:
                frame[name] = pandas.array(values, dtype="boolean")
        return frame

    def to_polars(self) -> Any:
        """The table as a polars data frame; errors as `to_pandas`.

        A column with values of several kinds, or of a kind for which there is no type, becomes
        text: strings unchanged, everything else as JSON.
        """
        polars = _installed("polars")

        def series(values: list[Any]) -> Any:
            rows = [{"": value} for value in values]
            return polars.DataFrame(rows, infer_schema_length=None).to_series()

        refusals = (polars.exceptions.PolarsError, TypeError, ValueError, OverflowError)
        return polars.DataFrame(_columns(self.rows(), series, refusals))

    def to_arrow(self) -> Any:
        """The table as a pyarrow table; errors as `to_pandas`, columns as in `to_polars`."""
        pyarrow = _installed("pyarrow")
        refusals = (TypeError, ValueError, OverflowError)
        return pyarrow.table(_columns(self.rows(), pyarrow.array, refusals))


def _columns(
    rows: Iterable[dict[str, Any]],
    make: Callable[[list[Any]], Any],
    refusals: tuple[type[Exception], ...],
) -> dict[str, Any]:
    """The table by columns; `make` makes one from values of one kind, or raises `refusals`."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows], make, refusals) for name in names}


def _column(
    values: list[Any],
    make: Callable[[list[Any]], Any],
    refusals: tuple[type[Exception], ...],
) -> Any:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int, float} and all(map(_is_exact, values)):
        kinds, values = {float}, [value if value is None else float(value) for value in values]
    if len(kinds) <= 1:
        with suppress(*refusals):
            return make(values)
    return make([_text(value) for value in values])


def _text(value: Any) -> str | None:
    import msgspec

    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _is_exact(value: float | None) -> bool:
    """Whether a float holds the number with all its digits."""
    return not isinstance(value, int) or -_EXACT <= value <= _EXACT


def _whole_numbers(pandas: Any, values: list[int | None]) -> Any:
    """Whole numbers with gaps, in a pandas type that keeps all their digits."""
    numbers = [value for value in values if value is not None]
    least, most = min(numbers), max(numbers)
    if least >= -_INTEGERS and most < _INTEGERS:
        return pandas.array(values, dtype="Int64")
    return pandas.array(values, dtype="UInt64" if least >= 0 and most < 2 * _INTEGERS else object)


def _installed(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise missing_extra("This data frame", name) from None
