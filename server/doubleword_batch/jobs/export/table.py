"""The table of answers: the source's rows, in source order, each with its outcome and answer.

Columns, in this order: the source's own; `custom_id`, `outcome`; the answer; `error`, which says
why there is no answer or none that can be trusted. The answer is

- `answer`, the model's text;
- with a response_schema, one column for each of its properties (nested values as JSON), and
  `answer` only for text that does not fit the schema;
- if the job offers tools, `tool_name` and `tool_arguments` (parsed) of a row's only call, with a
  column for each argument that the tools describe (`tool_arguments.day`); or `tool_calls` with all
  calls of the row if there are several;
- `embedding` for embeddings;
- `model`, before `error`, if there is a cascade: which model's answer it is;
- what else was asked and paid for: `answers`, all of them if `n` is above 1 (`answer` is the
  first), `logprobs` as the provider writes them, and `audio` in base64 (`answer` is what it says).

Before `error` there may be `mark`, a person's opinion of an answer, and `origin`, where an answer
comes from if the row sent no request of its own.

`columns.py` decides the names if the source has columns with the same names.

The source's columns are read from the source. If it is gone or has changed since the job was built,
the job's own copy of what the prompt took from the rows is used instead.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.build_source import reopen_source, stamp_of
from doubleword_batch.jobs.export.columns import (
    LEDGER,
    MODEL,
    ORIGIN,
    TOOL_ARGUMENT,
    free_name,
    table_columns,
)
from doubleword_batch.jobs.extra_columns import EXTRA_COLUMNS, tool_argument_schemas
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import utc
from doubleword_batch.jobs.reuse.savings import origin_of_row
from doubleword_batch.jobs.store.records import ANSWERED, Entry, RowOutcome
from doubleword_batch.jobs.store.row_marks import RowMarks
from doubleword_batch.jobs.sync.answers import Answer
from doubleword_batch.jobs.sync.parse import answer_in, text_or_answer_in
from doubleword_batch.jobs.sync.schema_check import parse_structured
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.requests.row_copy import RowCopy, row_copy

if TYPE_CHECKING:
    from doubleword_batch.sources import Source

Row = dict[str, Any]
_Read = TypeVar("_Read", bound=RowOutcome)

_WITHOUT_ERROR = frozenset({"ok", "pending"})
_LATE_KEYS_NAMED = 5
_COLUMNS_NAMED = 12

FETCH_AGAIN = "fetch again; the answers collected so far are kept"
"""What to do if the table could not be written."""


class Rows(Protocol):
    """Rows that can be written: a table of answers, or the result of a query over it."""

    @property
    def columns(self) -> list[str]:
        """The names, in order; every row has all of them."""
        ...

    @property
    def schemas(self) -> dict[str, Any]:
        """The JSON Schema of columns that have one."""
        ...

    @property
    def embedding_column(self) -> str | None:
        """The name of the column of vectors; None if there is none."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What the table was made from, for formats that have metadata."""
        ...

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows, in order."""
        ...


class Table:
    """The table of one job; rows stream from the source, the ledger and our copies of the lines.

    Attributes:
        columns: names in order.
        answer_columns: the columns that hold the answer; with a response_schema, in its order.
        source_columns: the source's columns, by their names there; empty if some are left out or
            our copy of the rows is used.
        schemas: the JSON Schema of each column that comes from a response_schema.
        mark_column: name of the column of a person's marks; None if there are none.
        embedding_column: name of the column of vectors; None if there is none.
        about: the job, its model and its source; a Parquet file keeps it as metadata.
        has_byte_order_mark: whether the source begins with one.
        warnings: what the reader should know, such as a source that has changed.
    """

    def __init__(self, job: StoredJob) -> None:
        self._job = job
        spec: dict[str, Any] = msgspec.json.decode(job.spec)
        self.about = _about(job, spec)
        self.warnings: list[str] = []
        self._late_keys_noticed = False
        self._source = self._open_source()
        self.has_byte_order_mark = bool(self._source and self._source.has_byte_order_mark)
        of_source = self._source.columns if self._source else ()
        named = table_columns(of_source, spec, job.endpoint)
        self._own = named.own
        self._properties = named.properties
        self._names = named.given
        self._known = frozenset(of_source)
        has_all = len(named.given) == len(of_source)
        self._is_as_given = has_all and not named.renamed
        self._marks = RowMarks(job.store, job.id).all()
        taken = {column.lower() for column in named.all}
        self.mark_column = free_name("mark", taken) if self._marks else None
        self._origins = {origin.number: origin for origin in job.ledger.origins()}
        has_origins = self._origins or job.ledger.shared()
        self._origin_column = free_name(ORIGIN, taken) if has_origins else None
        is_whole = has_all and not isinstance(self._source, RowCopy)
        self.source_columns: dict[str, str] = dict(named.given) if is_whole else {}
        self.columns = named.all
        # Before `error`, by which such a table is recognised.
        self.columns[-1:-1] = filter(None, (self.mark_column, self._origin_column))
        self.answer_columns = named.answers
        self._models = models_of(job) if MODEL in named.own else None
        self._given: Row = dict.fromkeys(named.given.values())
        self._ours: Row = dict.fromkeys(self.columns[len(named.given) :])
        self.schemas = {column: named.schemas[name] for name, column in named.properties.items()}
        for name, schema in tool_argument_schemas(spec.get("params") or {}).items():
            if TOOL_ARGUMENT + name in named.own:
                self.schemas[TOOL_ARGUMENT + name] = schema
        self._has_more = has_origins or bool(self._marks) or self._models is not None
        self.embedding_column = named.own.get("embedding")
        self._is_text = named.kinds == ("answer",) and not named.properties  # as in most jobs

    def rows(self, wanted: Iterable[str] | None = None) -> Iterator[Row]:
        """Every row of the job, in source order; each source row exactly once.

        Every row has every column. JSON rows may have more (keys that the first 1,000 rows lack).

        Args:
            wanted: the columns that are needed; None for all. Nothing is read only for others.

        Raises:
            InputError: code `file_changed`: the source was changed meanwhile.
        """
        names = set(self.columns if wanted is None else wanted)
        source = self._source if names & self._given.keys() else None
        ledger = {self._own[name] for name in (*LEDGER, MODEL) if name in self._own}
        ledger |= {name for name in (self.mark_column, self._origin_column) if name}
        has_answers = bool(names - self._given.keys() - ledger)
        with closing(StoredLines(self._job)) if has_answers else nullcontext() as lines:
            joined = self._joined(self._job.ledger.row_outcomes(), source, lines)
            yield from map(itemgetter(1), joined)

    def entries_and_rows(self) -> Iterator[tuple[Entry, Row]]:
        """Every row as `rows` gives it, with all columns, and its entry in the ledger."""
        with closing(StoredLines(self._job)) as lines:
            yield from self._joined(self._job.ledger.entries(), self._source, lines)

    def version(self) -> str:
        """A value that changes whenever a row may: it covers the ledger, source and columns."""
        facts = (
            self._job.spec,
            self.columns,
            self._stamp(),
            [(r.id, r.status, r.completed, r.failed, r.collected) for r in self._job.batch_runs()],
            self._job.ledger.version(),
            RowMarks(self._job.store, self._job.id).version(),
        )
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()

    def _stamp(self) -> str:
        """A value that changes when the source does; our own copy never changes."""
        if self._source is None:
            return ""
        return "copy" if isinstance(self._source, RowCopy) else stamp_of(self._source.paths)

    def _joined(
        self,
        entries: Iterator[_Read],
        source: "Source | RowCopy | None",
        lines: StoredLines | None,
    ) -> Iterator[tuple[_Read, Row]]:
        if source is None:
            for entry in entries:
                yield entry, self._filled(self._given.copy(), entry, lines)
            return
        records = source.rows()
        stamp = self._stamp()
        position = 0
        for entry in entries:
            record: Row | None = None
            while position < entry.row:
                record = next(records, None)
                position += 1
            if record is None:
                raise _source_changed()
            if not self._is_as_given:
                record = self._renamed(record)
            elif record.keys() != self._known:
                self._notice_late_keys(record)
                record = self._given | record
            yield entry, self._filled(record, entry, lines)
        if self._stamp() != stamp:
            raise _source_changed()

    def _renamed(self, record: Row) -> Row:
        """A row of the source under the names of the table."""
        known, named = self._known, self._names
        if record.keys() - known:
            self._notice_late_keys(record)
        row = self._given.copy()
        for name, value in record.items():
            if name in named:
                row[named[name]] = value
            elif name not in known:
                row[name] = value
        return row

    def _filled(self, row: Row, entry: RowOutcome, lines: StoredLines | None) -> Row:
        """Add our columns to the row, in place, and return it."""
        row |= self._ours
        own = self._own
        outcome = entry.outcome
        row[own["custom_id"]] = entry.custom_id
        row[own["outcome"]] = outcome
        if self._has_more:
            row.update(self._more(entry))
        if outcome not in _WITHOUT_ERROR:
            cause = entry.cause or outcome
            row[own["error"]] = f"{cause}: {entry.message}" if entry.message else cause
        if lines is None or outcome not in ANSWERED:
            return row
        line = lines.line(entry)
        if line is None:
            return row
        answer = text_or_answer_in(line) if self._is_text else answer_in(line)
        if isinstance(answer, str):
            row[own["answer"]] = answer
        elif answer is not None:
            row.update(self.values(entry, answer))
        return row

    def _more(self, entry: RowOutcome) -> Iterator[tuple[str, Any]]:
        """(column, value) of the columns that few tables have: marks, models and origins."""
        if self.mark_column is not None:
            yield self.mark_column, self._marks.get(entry.row)
        if self._models is not None and entry.outcome in ANSWERED:
            yield self._own[MODEL], self._model_of(entry)
        if self._origin_column is not None:
            yield self._origin_column, origin_of_row(entry, self._origins)

    def _model_of(self, entry: RowOutcome) -> str:
        """Which model's answer a row of a cascade has."""
        origin = None if entry.origin is None else self._origins.get(entry.origin)
        if origin is not None:
            return origin.model or self._job.model
        return (self._models or {}).get(entry.batch_run, self._job.model)

    def values(self, entry: RowOutcome, answer: Answer) -> Iterator[tuple[str, Any]]:
        """(column, value) of an answer."""
        own = self._own
        if "embedding" in own:
            yield own["embedding"], answer.embedding
            return
        for name in EXTRA_COLUMNS:
            if name in own:
                yield own[name], _extra(name, answer)
        text, calls = answer.text, answer.tool_calls
        if "tool_calls" not in own:  # made elsewhere: nothing says whether it offers tools
            text = calls if text is None else text
        elif calls is not None and len(calls) == 1:
            yield own["tool_name"], calls[0]["name"]
            yield own["tool_arguments"], calls[0]["arguments"]
            yield from self._arguments(calls[0]["arguments"])
        else:
            yield own["tool_calls"], calls
        if self._properties and entry.outcome == "ok":
            found = parse_structured(answer.text)
            value: Any = None if found is None else found.value
            if isinstance(value, dict):
                fields = cast("dict[str, Any]", value)
                for name, column in self._properties.items():
                    yield column, fields.get(name)
                return
        yield own["answer"], text

    def _arguments(self, given: Any) -> Iterator[tuple[str, Any]]:
        """(column, value) of each argument of a call that has a column."""
        if isinstance(given, dict):
            for name, value in cast("dict[str, Any]", given).items():
                if TOOL_ARGUMENT + name in self._own:
                    yield TOOL_ARGUMENT + name, value

    def _notice_late_keys(self, record: Row) -> None:
        late = sorted(record.keys() - self._known)[:_LATE_KEYS_NAMED]
        if not late or self._late_keys_noticed:
            return
        self._late_keys_noticed = True
        self.warnings.append(
            f"Some rows have keys that the first 1,000 rows lack ({_quoted(late)}): only a .jsonl "
            "table has them."
        )

    def _open_source(self) -> "Source | RowCopy | None":
        """The source if it is unchanged, or else the job's own copy of its rows."""
        if self._job.source is None:
            return None
        try:
            source = reopen_source(self._job)
        except InputError as error:
            return self._copy(f"The source could not be joined: {error.message}", None)
        same = stamp_of(source.paths) == self._job.source_stamp
        if same or source.fingerprint() == self._job.source_fingerprint:
            return source
        return self._copy("The source has changed since the job was built", source)

    def _copy(self, what: str, changed: "Source | None") -> RowCopy | None:
        copy = row_copy(self._job.folder)
        if changed is not None:
            what += f"{_sizes(copy, changed)}."
        if copy is None:
            self.warnings.append(
                f"{what} Its columns were left out, so that no answer is put beside the wrong row. "
                "custom_id holds the row's number."
            )
            return None
        gone = [name for name in copy.head.of_columns if name not in copy.columns]
        left_out = f" Left out: {_quoted(gone[:_COLUMNS_NAMED])}." if gone else ""
        self.warnings.append(
            f"{what} The job's own copy is used instead: {_quoted(copy.columns)}.{left_out}"
        )
        return copy


def models_of(job: StoredJob) -> dict[int | None, str]:
    """The model whose answers each batch run of a job has brought, by the run's id."""
    models = {part.id: part.model or job.model for part in job.parts()}
    return {run.id: models[run.part] for run in job.batch_runs()}


def _about(job: StoredJob, spec: dict[str, Any]) -> dict[str, Any]:
    is_ours = job.source is None or job.folder in Path(job.source).parents
    facts = {
        "job": job.name,
        "note": spec.get("note"),
        "model": job.model,
        "endpoint": job.endpoint,
        "provider": job.provider,
        "source": None if is_ours else job.source,
        "made_from": spec.get("made_from"),
        "built_at": utc(job.created_at),
    }
    return {name: value for name, value in facts.items() if value}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(quote_untrusted(name, 60) for name in names)


def _sizes(copy: RowCopy | None, changed: "Source") -> str:
    """The difference in numbers of files or bytes, in words; "" if there is none."""
    if copy is None:
        return ""
    now = sum(path.stat().st_size for path in changed.paths)
    then = copy.head.size_bytes
    if len(changed.paths) != copy.head.files:
        return f" ({copy.head.files} files then, {len(changed.paths)} now)"
    return f" ({then:,} bytes then, {now:,} now)" if now != then else ""


def _extra(name: str, answer: Answer) -> Any:
    """Another part of an answer, from all choices if there are several."""
    choices = [answer, *answer.others]
    if name == "answers":
        return [choice.tool_calls if choice.text is None else choice.text for choice in choices]
    values = [choice.logprobs if name == "logprobs" else choice.audio for choice in choices]
    return values[0] if len(values) == 1 else values


def _source_changed() -> InputError:
    return InputError(
        "The source was changed while its rows were joined to the answers; nothing was written.",
        hint="Fetch again when nobody is writing to it. If it still differs from what the job was "
        "built from, its columns are left out of the table.",
        code="file_changed",
        retryable=True,
    )
