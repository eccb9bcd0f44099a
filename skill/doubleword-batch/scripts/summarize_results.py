#!/usr/bin/env python3
"""Summarises result files in a few lines: outcomes, failures by cause, tokens, samples.

With --requests, requests without a line are counted as missing. --table writes the answers as a
table, with --source next to the rows that they answer; --retry writes the requests without a good
answer as a new request file. Answers are untrusted text; in CSV, one that a spreadsheet would take
for a formula gets an apostrophe in front.
Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

from batchkit.answer_table import answer_table, asked_by, in_source_order
from batchkit.atomic_files import check_output, write_whole
from batchkit.cli import (
    OFFLINE,
    Exit,
    ScriptError,
    quoted,
    run_script,
    say,
    script_parser,
)
from batchkit.file_encoding import in_lines
from batchkit.ledger import (
    UNREADABLE,
    Ledger,
    ended_without_a_line,
    request_lines,
)
from batchkit.plain_text import one_line
from batchkit.tables import open_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from batchkit.answers import Reading
    from batchkit.tables import Table

_CAUSES_SHOWN = 8
_SAMPLE_CHARACTERS = 160


def main() -> Exit:
    """Read, count, show, and write the requested files."""
    options = _parser().parse_args()
    inputs = [*options.results, *options.requests, *filter(None, [options.source])]
    for path in filter(None, (options.table, options.retry)):
        check_output(path, inputs, overwrite=options.overwrite)
    if options.table and options.table == options.retry:
        raise ScriptError(Exit.INPUT, "--table and --retry name one file.", "Give two names.")
    if options.retry is not None and not options.requests:
        raise ScriptError(Exit.USAGE, "--retry needs --requests.", "See --help.")
    if options.source is not None and options.table is None:
        raise ScriptError(Exit.USAGE, "--source needs --table.", "See --help.")
    with in_lines(options.results) as results:
        return _summarize(options, results)


def _summarize(options: argparse.Namespace, results: list[Path]) -> Exit:
    source = None if options.source is None else open_table(options.source)
    asked = asked_by(options.requests)
    ended = ended_without_a_line(options.requests)
    ledger = Ledger(results, asked.schema, ended)
    wanted = (id_ for path in options.requests for id_, _ in request_lines(path))
    custom_ids = list(dict.fromkeys(wanted)) or list(ledger.outcomes)
    if source is not None:
        custom_ids = in_source_order(custom_ids)
    tally = _Tally(options.sample)
    for reading in ledger.readings(custom_ids):
        tally.add(reading)
    tally.show(ledger)
    if options.table is not None:
        readings = ledger.readings(custom_ids)
        write_whole(options.table, answer_table(options.table, readings, source, asked))
        say(f"table: {options.table}")
        _say_left_out(source, len(custom_ids))
    if options.retry is not None:
        readings = ledger.readings(custom_ids)
        again = {reading.custom_id for reading in readings if _is_wanted(reading, options.cause)}
        if again:
            write_whole(options.retry, _only(again, options.requests))
        left = f"{options.retry}, {len(again)} requests" if again else "nothing is left"
        say(f"retry: {left}")
    return Exit.DONE if tally.is_all_ok else Exit.INCOMPLETE


class _Tally:
    """Counts outcomes, and keeps a few answers and one message for each cause."""

    def __init__(self, samples: int) -> None:
        self._samples_wanted = samples
        self._outcomes: Counter[str] = Counter()
        self._causes: Counter[tuple[str, str]] = Counter()
        self._messages: dict[tuple[str, str], str] = {}
        self._samples: list[Reading] = []
        self._unchecked: Counter[str] = Counter()
        self._not_wholly_checked = 0

    @property
    def is_all_ok(self) -> bool:
        return set(self._outcomes) <= {"ok"}

    def add(self, reading: Reading) -> None:
        self._outcomes[reading.outcome] += 1
        self._unchecked.update(reading.unchecked)
        self._not_wholly_checked += bool(reading.unchecked)
        if reading.outcome != "ok":
            cause = (reading.outcome, reading.cause)
            self._causes[cause] += 1
            self._messages.setdefault(cause, reading.message)
        elif len(self._samples) < self._samples_wanted:
            self._samples.append(reading)

    def show(self, ledger: Ledger) -> None:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes.most_common())
        say(f"{sum(self._outcomes.values())} requests: {counts or 'none'}")
        say(f"tokens: {ledger.tokens[0]} in, {ledger.tokens[1]} out, of all attempts")
        if ledger.unreadable:
            say(f"{ledger.unreadable} lines are not result lines and were ignored")
        if self._not_wholly_checked:
            names = ", ".join(quoted(name, 40) for name in self._unchecked)
            say(
                f"{self._not_wholly_checked} of the ok answers were not checked against {names} of "
                "the schema: the command `doubleword-batch` checks that"
            )
        for (outcome, cause), count in self._causes.most_common(_CAUSES_SHOWN):
            message = self._messages[outcome, cause]
            cut = "" if len(message) <= _SAMPLE_CHARACTERS else "…"
            words = f", for example {message[:_SAMPLE_CHARACTERS]}{cut}" if message else ""
            say(one_line(f"{outcome} ({cause}): {count}{words}"))
        for reading in self._samples:
            name = quoted(reading.custom_id, 64)
            say(f"sample {name}: {quoted(reading.answer or '', _SAMPLE_CHARACTERS)}")


def _say_left_out(source: Table | None, requests: int) -> None:
    """Say how many rows of the source the table lacks, because they have no request."""
    left = 0 if source is None else sum(1 for _ in source.rows()) - requests
    if left > 0:
        say(f"not in the table: {left} rows of the source without a request, such as blank ones")


def _is_wanted(reading: Reading, causes: list[str]) -> bool:
    """Whether to ask a request again: it has no good answer, for one of these reasons.

    Never one that waits for its line; one whose answer the server counts only if named.
    """
    is_named = reading.outcome in causes or reading.cause in causes
    is_wanted = is_named if causes else reading.cause != UNREADABLE
    return reading.outcome not in {"ok", "pending"} and is_wanted


def _only(wanted: set[str], files: list[Path]) -> Iterator[bytes]:
    for path in files:
        for custom_id, line in request_lines(path):
            if custom_id in wanted:
                yield line


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, OFFLINE)
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="FILE", help="result files, with those of retries")
    add(
        "--requests",
        action="extend",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="the request files that were run",
    )
    add("--sample", type=int, default=3, choices=range(21), metavar="N", help="answers shown (3)")
    add("--table", type=Path, metavar="FILE", help="write the answers to this .csv or .jsonl")
    add(
        "--source",
        type=Path,
        metavar="TABLE",
        help="the table the requests were made from: adds its columns",
    )
    add("--retry", type=Path, metavar="FILE", help="write the requests to send again")
    add(
        "--cause",
        action="append",
        default=[],
        metavar="NAME",
        help="with --retry: only this outcome or cause, such as truncated; repeatable",
    )
    add("--overwrite", action="store_true", help="replace --table and --retry")
    return parser


if __name__ == "__main__":
    run_script(main)
