"""What the person sees: notes and a bar on stderr during the run, the result on stdout.

Whatever a model or a row contributes is stripped of control characters and never read as markup.
"""

import io
import json
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from doubleword_batch.demo import demo_job
from doubleword_batch.demo.demo_job import QUERY, DemoResult
from doubleword_batch.demo.folder import Comparison, DemoFolder
from doubleword_batch.demo.host import REPLY_LIMIT_BYTES, HostCall
from doubleword_batch.plain_text import one_line

_ROWS_SHOWN = 10
_OTHER_COLUMNS_WIDTH = 52
_ARGUMENT_CHARACTERS = 44


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no emoji codes, no highlighting."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that is not UTF-8
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def moving_bar(
    console: Console, words: str, *, unit: str = ""
) -> Generator[Callable[[float, float | None], None]]:
    """Show a bar until the block ends; yields `move(done, total)`.

    Args:
        console: where it is drawn.
        words: what is happening.
        unit: "MB" to show bytes as megabytes; else plain numbers.
    """
    scale, form = (1e6, ".1f") if unit == "MB" else (1, ".0f")
    numbers = TextColumn("")
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        numbers,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        shown = bar.add_task(words, total=None)

        def move(done: float, total: float | None) -> None:
            bar.update(shown, completed=done, total=total)
            of = f" of {total / scale:{form}}" if total else ""
            numbers.text_format = f"{done / scale:{form}}{of} {unit}".rstrip()

        yield move


def call_line(call: HostCall) -> str:
    """One call as a line: `create_batch: 0.3 s, 812 bytes`."""
    return f"  {call.tool}: {call.seconds:.1f} s, a reply of {call.reply_bytes:,} bytes"


def show_result(
    console: Console, result: DemoResult, comparison: Comparison, folder: DemoFolder
) -> None:
    """Print the calls, the answers, the counts, the agreement and the files."""
    _show_calls(console, result.calls, folder)
    _show_answers(console, comparison)
    _show_counts(console, result)
    console.print()
    for line in (*_row_counts(comparison), *_agreement(result, comparison)):
        console.print(line)
    console.print(f"Answered by {one_line(result.provider)}")
    console.print()
    for words, path in (("Table", folder.source), ("Answers", folder.answers), ("Log", folder.log)):
        console.print(f"{words + ':':8} {path}", soft_wrap=True)


def as_object(result: DemoResult, comparison: Comparison, folder: DemoFolder) -> dict[str, Any]:
    """The same as JSON-able values."""
    return {
        "provider": result.provider,
        "model": result.model,
        "job": result.job,
        "rows": comparison.source_rows,
        "each_row_once": comparison.each_row_once,
        "outcomes": comparison.outcomes,
        "agreed": comparison.agreed,
        "reply_bytes": _total(result.calls),
        "reply_tokens": _total(result.calls) // 4,
        "reply_limit_bytes": REPLY_LIMIT_BYTES,
        "calls": [
            {
                "tool": call.tool,
                "seconds": round(call.seconds, 2),
                "text_bytes": call.text_bytes,
                "structured_bytes": call.structured_bytes,
                "reply_bytes": call.reply_bytes,
            }
            for call in result.calls
        ],
        "counted": result.counted,
        "source_path": str(folder.source),
        "output_path": str(folder.answers),
        "log_path": str(folder.log),
    }


def _show_calls(console: Console, calls: tuple[HostCall, ...], folder: DemoFolder) -> None:
    table = Table(title="What the agent called, and what the replies cost its context")
    table.add_column("call", overflow="fold")
    for name in ("seconds", "text", "structure", "bytes"):
        table.add_column(name, justify="right")
    for call in calls:
        table.add_row(
            _as_call(call),
            f"{call.seconds:.1f}",
            f"{call.text_bytes:,}",
            f"{call.structured_bytes:,}",
            f"{call.reply_bytes:,}",
        )
    console.print()
    console.print(table)
    total, largest = _total(calls), max(call.reply_bytes for call in calls)
    kept = "kept" if largest <= REPLY_LIMIT_BYTES else "BROKEN"
    console.print(
        f"Largest reply {largest:,} bytes; the promise of at most {REPLY_LIMIT_BYTES:,} is {kept}. "
        f"All together {total:,} bytes, about {total // 4:,} tokens (bytes/4). The table of "
        f"answers, {folder.answers.stat().st_size:,} bytes, never passed through the agent."
    )


def _show_answers(console: Console, comparison: Comparison) -> None:
    shown = comparison.rows[:_ROWS_SHOWN]
    table = Table(title=f"Answers: the first {len(shown)} of {len(comparison.rows)} rows")
    room = max(20, console.width - _OTHER_COLUMNS_WIDTH)
    for name in ("word", "definition", "label", "answer", "agree"):
        table.add_column(name, overflow="fold")
    for row in shown:
        table.add_row(
            one_line(row.word),
            _cut(one_line(row.definition), room),
            one_line(row.label),
            one_line(row.topic) or f"({one_line(row.outcome)})",
            "yes" if row.agrees else "no",
        )
    console.print()
    console.print(table)


def _show_counts(console: Console, result: DemoResult) -> None:
    table = Table()
    for name in result.counted["columns"]:
        table.add_column(one_line(str(name)))
    for row in result.counted["rows"]:
        table.add_row(*(one_line(str(cell)) for cell in row))
    console.print()
    console.print(f"Asked with fetch_results, without reading the file: {QUERY}")
    console.print(table)


def _row_counts(comparison: Comparison) -> Iterable[str]:
    rows = comparison.source_rows
    if comparison.each_row_once:
        yield f"All {rows} rows of the source are in the table, each exactly once, in its order."
    else:
        yield f"The table has {len(comparison.rows)} rows and does not match the source's {rows}!"
    counts = ", ".join(f"{count} {one_line(name)}" for name, count in comparison.outcomes.items())
    yield f"Outcomes: {counts}."


def _agreement(result: DemoResult, comparison: Comparison) -> Iterable[str]:
    rows, guessed = len(comparison.rows), len(comparison.rows) // len(demo_job.TOPICS)
    yield (
        f"The answers agree with the human's label on {comparison.agreed} of {rows} rows; "
        f"guessing would agree on about {guessed}."
    )
    if result.model != demo_job.MODEL:
        return
    yield (
        "That flatters: the prompt's examples were tuned on these very rows. On the next "
        f"{demo_job.UNSEEN_ROWS} entries by the same rule, never tuned on, this model agreed on "
        f"{demo_job.UNSEEN_AGREED}. It is a demo model: reliable shape, weak content. Real work "
        "needs a real model: set DOUBLEWORD_API_KEY, or DOUBLEWORD_BATCH_LOCAL_URL for your own."
    )


def _as_call(call: HostCall) -> str:
    arguments = ", ".join(
        f"{name}={_cut(json.dumps(value), _ARGUMENT_CHARACTERS)}"
        for name, value in call.arguments.items()
    )
    return f"{call.tool}({arguments})"


def _total(calls: Iterable[HostCall]) -> int:
    return sum(call.reply_bytes for call in calls)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
