"""Replies for people: a few facts, one per line, and small tables if there are rows.

Every value goes through `plain`, whoever wrote it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from decimal import Decimal
from functools import singledispatch
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from doubleword_batch.cli.next_command import command_for
from doubleword_batch.cli.terminal import Facts, Terminal, lines, plain
from doubleword_batch.doctor import Finding
from doubleword_batch.jobs.replies import (
    Cancelled,
    CascadeResult,
    CascadeStage,
    Created,
    Deleted,
    Listing,
    Reply,
    Results,
    Retried,
    Status,
    Submitted,
    Uploaded,
    Waiting,
    WindowCost,
    usd_text,
)
from doubleword_batch.requests import ValidationReport

_MARKS = {"ok": "ok", "note": "-", "wrong": "WRONG"}
_LONGEST_NAME = 64


def show(terminal: Terminal, report: Reply) -> None:
    """Print a verb's report, as JSON or for people."""
    command = command_for(report.next) if report.next else None
    if terminal.as_json:
        fields = report.model_dump(mode="json", exclude_none=True, exclude={"next"})
        terminal.json(fields | ({"next": command} if command else {}))
        return
    terminal.show(*lines(facts(report)))
    if isinstance(report, Results):
        terminal.show(*_tables(report))
    if isinstance(report, Listing):
        terminal.show(*(Text(plain(line)) for line in report.lines or ["nothing"]))
    terminal.show(*lines([("by", report.provider), ("next", command)]))


def show_check(terminal: Terminal, report: ValidationReport, provider: str) -> None:
    """Print the result of checking a request file, as JSON or for people."""
    if terminal.as_json:
        terminal.json(TypeAdapter(ValidationReport).dump_python(report, mode="json"))
        return
    verdict = "would accept it" if report.ok else "would reject it"
    terminal.show(
        *lines(
            [
                ("file", report.path),
                ("requests", f"{report.requests:,} in {report.size_bytes:,} bytes"),
                ("endpoint", report.endpoint),
                ("models", ", ".join(report.models)),
                ("tokens", f"about {report.input_tokens:,} in"),
                ("verdict", f"{provider} {verdict}"),
            ]
        )
    )
    if report.groups:
        columns = ("", "lines", "first", "what", "what to do")
        rows = (
            (group.severity, group.count, first.line or "file", first.message, group.fix)
            for group in report.groups
            for first in group.first[:1]
        )
        terminal.show(table("Found", columns, rows))


def show_findings(terminal: Terminal, findings: list[Finding]) -> None:
    """Print the findings of `doctor`, as JSON or for people."""
    if terminal.as_json:
        terminal.json({"findings": [_finding_fields(finding) for finding in findings]})
    else:
        terminal.show(*(line for finding in findings for line in _finding_lines(finding)))


def _finding_fields(finding: Finding) -> dict[str, Any]:
    command = {"next": command_for(finding.next)} if finding.next else {}
    fields = asdict(finding)
    del fields["next"]
    return fields | command


def _finding_lines(finding: Finding) -> Iterator[Text]:
    mark = Text(f"{_MARKS[finding.state]:<6}", "bold red" if finding.state == "wrong" else "bold")
    yield mark + Text(f"{finding.subject:<11}{plain(finding.found)}")
    command = command_for(finding.next) if finding.next else ""
    for line in filter(None, (finding.remedy, command)):
        yield Text(f"{'':<17}{plain(line)}", "dim")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table whose cells are plain text, wide enough for its column names: none is wrapped."""
    names = [plain(column) for column in columns]
    cells = [["" if cell is None else plain(cell) for cell in row] for row in rows]
    shown = Table(
        title=Text(title, "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        min_width=cell_len(title),  # otherwise the title is wrapped at the table's width
    )
    for number, name in enumerate(names):
        texts = (name, *(row[number] for row in cells))
        longest = max(cell_len(word) for text in texts for word in text.split() or [""])
        shown.add_column(Text(name), overflow="fold", min_width=min(longest, _LONGEST_NAME))
    for row in cells:
        shown.add_row(*map(Text, row))
    return shown


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def cost(usd: Decimal | None, note: str) -> str:
    """An amount and where it comes from."""
    if not usd:  # unknown or free: the note says which
        return note
    return f"{usd_text(usd)} ({note})"


def no_capacity(waiting: Waiting) -> str:
    """What to say about parts that have to be submitted later."""
    return (
        f"the provider has no capacity for {counted(waiting.parts, 'part')} yet; "
        f"try again in {waiting.retry_after_seconds} s"
    )


@singledispatch
def facts(report: Reply) -> Facts:
    """What a person wants to know from a reply, apart from its tables."""
    raise TypeError(f"no words for {type(report).__name__}")


@facts.register
def _(report: Created) -> Facts:
    again = " (built before, unchanged)" if report.reused else ""
    files = counted(report.parts, "file")
    return [
        ("job", report.job + again),
        ("requests", f"{report.requests:,} from {counted(report.rows, 'row')} in {files}"),
        *_saved(report.reused_rows, report.shared_rows),
        ("model", report.model),
        ("tokens", f"about {report.input_tokens:,} in, {report.output_tokens:,} out"),
        ("cost", cost(report.cost_usd, report.cost_note)),
        *(("window", _window(way)) for way in report.windows),
        ("realtime", report.realtime_usd and f"{usd_text(report.realtime_usd)} in single calls"),
        ("advice", report.advice),
        *(("file", path) for path in report.paths),
        ("first", report.first_request),
        *_warnings(report.warnings),
    ]


@facts.register
def _(report: Uploaded) -> Facts:
    return [
        ("job", report.job),
        ("uploaded", f"{report.requests:,} requests, {report.size_bytes:,} bytes"),
        ("reused", f"{counted(report.reused, 'file')} there already" if report.reused else ""),
        ("files", ", ".join(report.input_file_ids)),
        ("cost", cost(report.cost_usd, report.cost_note)),
        *_warnings(report.warnings),
    ]


@facts.register
def _(report: Submitted) -> Facts:
    return [
        ("job", report.job + (" (submitted before)" if report.reused else "")),
        ("status", report.status),
        ("batches", ", ".join(report.batch_ids)),
        ("window", report.completion_window),
        ("expires", report.expires_at and f"{report.expires_at:%Y-%m-%d %H:%M} UTC"),
        ("cost", cost(report.cost_usd, report.cost_note)),
        ("waiting", report.waiting and no_capacity(report.waiting)),
        ("waits", report.first_wave),
    ]


@facts.register
def _(report: Status) -> Facts:
    counts = report.counts
    done = f"{counts.completed + counts.failed:,} of {counts.total:,} ({report.percent} %)"
    rate, eta = report.requests_per_second, report.eta_seconds
    return [
        ("job", report.job),
        ("status", report.status),
        ("waits", report.approval),
        ("finished", done + (f", {counts.failed:,} failed" if counts.failed else "")),
        *_saved(report.reused_rows, report.shared_rows),
        ("rate", rate and f"{rate:g} requests/s"),
        ("ETA", None if eta is None else duration(eta)),
        ("expires", report.expires_at and f"{report.expires_at:%Y-%m-%d %H:%M} UTC"),
        ("batches", ", ".join(report.batch_ids)),
        *_cascade(report.cascade),
        ("waits", report.first_wave),
        *(("problem", problem) for problem in report.problems),
    ]


@facts.register
def _(report: Results) -> Facts:
    tokens = f"{report.input_tokens:,} in, {report.output_tokens:,} out"
    return [
        ("job", report.job),
        ("status", report.status),
        ("rows", f"{report.rows:,}: " + _sums(report.ledger)),
        *_saved(report.reused_rows, report.shared_rows, report.reused_from),
        ("answers", report.output_path),
        ("lock", report.lock),
        ("tokens", tokens if report.input_tokens or report.output_tokens else ""),
        ("cached", _cached(report)),
        ("cost", cost(report.cost_usd, report.cost_note)),
        *_cascade(report.cascade),
        *_warnings(report.warnings),
    ]


def _cascade(stage: CascadeStage | None) -> Facts:
    if stage is None:
        return []
    shown: Facts = [("cascade", f"round {stage.round} of 3, strong model {stage.model}")]
    if isinstance(stage, CascadeResult):
        shown.append(("by model", ", ".join(f"{n:,} by {name}" for name, n in stage.rows.items())))
        if stage.interval is not None:
            lower, upper = stage.interval
            words = f"{stage.agreement:.1%} of {stage.sampled} rows ({lower:.1%} to {upper:.1%})"
            shown.append(("agreement", words))
        if stage.kept:
            shown.append(("kept", f"{stage.kept:,} rows: the strong model did not answer them"))
        if stage.saved_usd is not None:
            shown.append(
                ("saved", f"{usd_text(stage.saved_usd)} less than the strong model for all")
            )
        shown.append(("note", stage.note))
    return [*shown, ("waits", stage.waits_for)]


@facts.register
def _(report: Cancelled) -> Facts:
    return [
        ("job", report.job),
        ("status", report.status),
        ("stopped", f"{report.stopped:,} requests; {report.finished:,} had finished"),
        ("note", report.note),
    ]


@facts.register
def _(report: Deleted) -> Facts:
    return [("deleted", f"{report.job}, {decimal(report.size_bytes)}"), ("note", report.note)]


@facts.register
def _(report: Retried) -> Facts:
    return [
        ("job", report.job),
        ("status", report.status),
        ("again", f"{counted(report.rows, 'row')}: {_sums(report.causes)}"),
        ("batches", ", ".join(report.batch_ids)),
        ("cost", cost(report.cost_usd, report.cost_note)),
        ("waiting", report.waiting and no_capacity(report.waiting)),
    ]


@facts.register
def _(report: Listing) -> Facts:
    return [("more", f"--after {report.after}" if report.has_more else "")]


def _tables(report: Results) -> Iterable[RenderableType]:
    if report.errors:
        columns = ("outcome", "cause", "rows", "message", "what to do")
        rows = (
            (group.outcome, group.cause, group.rows, group.message, group.advice)
            for group in report.errors
        )
        yield table("Rows without a good answer", columns, rows)
    if report.samples:
        names = list(dict.fromkeys(name for sample in report.samples for name in sample.columns))
        rows = ((sample.row, *map(sample.columns.get, names)) for sample in report.samples)
        yield table("Some answers (written by the model)", ("row", *names), rows)
    if report.query is not None:
        found = report.query
        cut = f", the first {len(found.rows)} shown" if found.truncated else ""
        yield table(f"Query: {counted(found.total, 'row')}{cut}", found.columns, found.rows)


def _window(way: WindowCost) -> str:
    price = "price unknown" if way.cost_usd is None else usd_text(way.cost_usd)
    usual = f"usually {way.usual}" if way.usual else ""
    return ", ".join(filter(None, (way.completion_window, price, usual)))


def _cached(report: Results) -> str | None:
    if not report.cached_tokens:
        return None
    saved = f", which saved {usd_text(report.saved_usd)}" if report.saved_usd else ""
    return f"{report.cached_tokens:,} of the input tokens{saved}"


def _sums(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _saved(reused: int | None, shared: int | None, origins: list[str] | None = None) -> Facts:
    """The rows that cost nothing."""
    where = "; ".join(origins or ()) or "earlier jobs"
    return [
        ("reused", f"{counted(reused, 'row')} from {where}" if reused else ""),
        ("shared", f"{counted(shared, 'row')} with the request of an equal row" if shared else ""),
    ]


def counted(number: int, what: str) -> str:
    """A count with its noun: `1 row`, `2,000 rows`."""
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"


def _warnings(warnings: list[str]) -> Facts:
    return [("warning", warning) for warning in warnings]
