"""The table of answers: the source's rows, in source order, with what became of each.

Columns, in this order: the source's own; `custom_id`, `outcome`; the answer; `error`, which says
why there is no answer or none that can be trusted. The answer is

- `answer`, the model's text;
- with a response_schema one column for each of its properties (nested values as JSON), and
  `answer` only for text that does not fit it;
- where the job offers tools, `tool_name` and `tool_arguments` (parsed) of a row's only call, or
  `tool_calls` with all of them where there are several;
- `embedding` for embeddings.

Where a column of that name exists already, ours is called `batch_` and the name.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.build_request import stamp_of
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.ledger import Entry
from doubleword_batch.jobs.sync.parse import Answer, structured
from doubleword_batch.jobs.sync.stored_lines import StoredLines

if TYPE_CHECKING:
    from doubleword_batch.paths import Roots
    from doubleword_batch.sources import Source

Row = dict[str, Any]

_LEDGER = ("custom_id", "outcome", "error")
_TOOLS = ("tool_name", "tool_arguments", "tool_calls")
_WITHOUT_ERROR = frozenset({"ok", "pending"})
_LATE_KEYS_NAMED = 5

NOT_WRITTEN_HINT = (
    "Free some space or choose another place for the table, then fetch again; the answers "
    "collected so far are kept."
)
"""What to do where the disk does not take the table."""


class Table:
    """The table of one job; rows stream from the source, the ledger and our copies of the lines.

    Attributes:
        columns: names in order.
        schemas: the JSON Schema of each column that a response_schema makes.
        embedding_column: name of the column of vectors, None where there is none.
        warnings: what the reader should know, such as a source that has changed.
    """

    def __init__(self, job: StoredJob) -> None:
        self._job = job
        spec: dict[str, Any] = msgspec.json.decode(job.spec)
        properties = _properties(spec)
        self.warnings: list[str] = []
        self._late_keys_noticed = False
        self._source = self._open_source()
        given = self._source.columns if self._source else ()
        self._source_columns = frozenset(given)
        taken = [*given]
        answers = _answer_columns(job, spec)
        self._own = own = _named((*_LEDGER, *answers), taken)
        made = _named((name for name in properties if name != "answer"), taken)
        self._properties = {name: made.get(name) or own["answer"] for name in properties}
        self.columns = [
            *given,
            own["custom_id"],
            own["outcome"],
            *made.values(),
            *(own[name] for name in answers),
            own["error"],
        ]
        self._given: Row = dict.fromkeys(given)
        self._ours: Row = dict.fromkeys(self.columns[len(given) :])
        self.schemas = {column: properties[name] for name, column in self._properties.items()}
        self.embedding_column = own.get("embedding")
        self._is_text = answers == ("answer",) and not properties  # as most are

    def rows(self, wanted: Iterable[str] | None = None) -> Iterator[Row]:
        """Every row of the job, in source order; each source row exactly once.

        Every column is in every row. JSON rows may have more (keys that the first 1,000 rows lack).

        Args:
            wanted: columns that are needed; what only others need is not read.

        Raises:
            InputError: code `source_changed`: the source was written to meanwhile.
        """
        names = set(self.columns if wanted is None else wanted)
        source = self._source if names & self._source_columns else None
        ledger = {self._own[name] for name in _LEDGER}
        lines = StoredLines(self._job) if names - self._source_columns - ledger else None
        try:
            yield from self._joined(source, lines)
        finally:
            if lines is not None:
                lines.close()

    def version(self) -> str:
        """A value that changes whenever a row could: with the ledger, the source, the columns."""
        facts = (
            self._job.spec,
            self.columns,
            stamp_of(self._source.paths) if self._source else "",
            [(r.id, r.status, r.completed, r.failed, r.collected) for r in self._job.batch_runs()],
            self._job.ledger.version(),
        )
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()

    def _joined(self, source: "Source | None", lines: StoredLines | None) -> Iterator[Row]:
        if source is None:
            for entry in self._job.ledger.entries():
                yield self._filled(self._given.copy(), entry, lines)
            return
        records = source.rows()
        stamp = stamp_of(source.paths)
        position = 0
        for entry in self._job.ledger.entries():
            record: Row | None = None
            while position < entry.row:
                record = next(records, None)
                position += 1
            if record is None:
                raise _source_changed()
            if record.keys() != self._source_columns:
                self._notice_late_keys(record)
                record = self._given | record
            yield self._filled(record, entry, lines)
        if stamp_of(source.paths) != stamp:
            raise _source_changed()

    def _filled(self, row: Row, entry: Entry, lines: StoredLines | None) -> Row:
        """The row with our columns; `row` itself, which is nobody else's."""
        row |= self._ours
        own = self._own
        outcome = entry.outcome
        row[own["custom_id"]] = entry.custom_id
        row[own["outcome"]] = outcome
        if outcome not in _WITHOUT_ERROR:
            cause = entry.cause or outcome
            row[own["error"]] = f"{cause}: {entry.message}" if entry.message else cause
        answer = lines.answer(entry) if lines is not None else None
        if answer is None:
            return row
        if self._is_text and answer.tool_calls is None:
            row[own["answer"]] = answer.text
        else:
            row.update(self._values(entry, answer))
        return row

    def _values(self, entry: Entry, answer: Answer) -> Iterator[tuple[str, Any]]:
        """(column, value) of an answer."""
        own = self._own
        if "embedding" in own:
            yield own["embedding"], answer.embedding
            return
        text, calls = answer.text, answer.tool_calls
        if "tool_calls" not in own:  # a batch made elsewhere: nothing says that it offers tools
            text = calls if text is None else text
        elif calls is not None and len(calls) == 1:
            yield own["tool_name"], calls[0]["name"]
            yield own["tool_arguments"], calls[0]["arguments"]
        else:
            yield own["tool_calls"], calls
        if self._properties and entry.outcome == "ok":
            fields = structured(answer.text)
            if isinstance(fields, dict):
                fields = cast("dict[str, Any]", fields)
                for name, column in self._properties.items():
                    yield column, fields.get(name)
                return
        yield own["answer"], text

    def _notice_late_keys(self, record: Row) -> None:
        late = sorted(record.keys() - self._source_columns)[:_LATE_KEYS_NAMED]
        if not late or self._late_keys_noticed:
            return
        self._late_keys_noticed = True
        names = ", ".join(quote_untrusted(name, 60) for name in late)
        self.warnings.append(
            f"Some rows have keys that the first 1,000 rows lack ({names}): only a .jsonl table "
            "holds them."
        )

    def _roots(self) -> "Roots":
        """Inline rows lie in the job's own folder."""
        return self._job.workspace.roots.with_folder(self._job.folder)

    def _open_source(self) -> "Source | None":
        if self._job.source is None:
            return None
        from doubleword_batch.sources import open_source

        try:
            source = open_source(self._job.source, self._roots())
        except InputError as error:
            self.warnings.append(f"The source could not be joined: {error.message}")
            return None
        same = stamp_of(source.paths) == self._job.source_stamp
        if not same and source.fingerprint() != self._job.source_fingerprint:
            self.warnings.append(
                "The source has changed since the job was built: its columns were left out, so "
                "that no answer stands beside the wrong row. custom_id holds the row's number."
            )
            return None
        return source


def _properties(spec: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = spec.get("response_schema") or {}
    return schema.get("properties") or {}


def _answer_columns(job: StoredJob, spec: dict[str, Any]) -> tuple[str, ...]:
    if job.endpoint == "/v1/embeddings":
        return ("embedding",)
    params: dict[str, Any] = spec.get("params") or {}
    return (*(_TOOLS if params.get("tools") else ()), "answer")


def _named(names: Iterable[str], taken: list[str]) -> dict[str, str]:
    """A column's name for each of ours, different from those taken; they are taken then."""
    named: dict[str, str] = {}
    for name in names:
        column = name
        while column in taken:
            column = f"batch_{column}"
        taken.append(column)
        named[name] = column
    return named


def _source_changed() -> InputError:
    return InputError(
        "The source was changed while its rows were joined to the answers; nothing was written.",
        hint="Fetch again when nobody writes to it: if it still differs from what the job was "
        "built of, the table comes without its columns.",
        code="source_changed",
        retryable=True,
    )


# Names of columns for SQL, which does not tell upper case from lower


def distinct_names(columns: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, later ones that differ from an earlier one by case only with a number."""
    seen = {name.lower() for name in taken}
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name.lower() in seen:
            name, number = f"{column}_{number}", number + 1
        seen.add(name.lower())
        names.append(name)
    return names


def quoted_name(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
