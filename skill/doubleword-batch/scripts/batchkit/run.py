"""A request file's way from the disk to results, each step of which may be repeated."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.api import safe
from batchkit.batch_status import TERMINAL, first_error, status_of
from batchkit.checking import FIXES, check_file
from batchkit.collection import LineFile
from batchkit.ending import Exit, Stop, note, quoted, say
from batchkit.journal import Journal
from batchkit.limits import Limits
from batchkit.other_tables import refuse_table
from batchkit.refusals import Lost, Refused
from batchkit.submission import Order, Submission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from batchkit.api import Api
    from batchkit.settings import Settings

_REREADS = 3
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_CANCELLATION_SECONDS = 3600


class Terms(NamedTuple):
    """How to run.

    Attributes:
        window: the completion window.
        max_cost_usd: submit nothing above this.
        poll_seconds: between two looks at the batch, at most; the first ones come sooner.
        in_doubt_seconds: how long to look for a batch whose creation was never answered.
    """

    window: str
    max_cost_usd: Decimal | None
    poll_seconds: float
    in_doubt_seconds: float


class Run:
    """One request file on its way to results."""

    def __init__(self, api: Api, settings: Settings, path: Path, terms: Terms) -> None:
        self._api = api
        self._path = path
        self._poll_seconds = terms.poll_seconds
        refuse_table(path)
        report = check_file(path, Limits())
        if not report.is_ok:
            kind, faults = next((k, f) for k, f in report.faults.items() if k != "blank_line")
            raise Stop(
                Exit.INPUT,
                f"{quoted(str(path))}, line {faults[0].line}: {faults[0].message} {FIXES[kind]}",
                "Nothing was sent; validate_batch_file.py shows all faults.",
            )
        self._requests = report.requests
        self._output = path.with_name(path.stem + ".results.jsonl")
        self._errors = path.with_name(path.stem + ".errors.jsonl")
        self._journal = Journal(path, settings.base_url)
        if self._journal.is_new:
            self._refuse_to_replace()
        caps = [cap for cap in (terms.max_cost_usd, settings.max_cost_usd) if cap is not None]
        order = Order(
            path, report.endpoint, terms.window, min(caps, default=None), terms.in_doubt_seconds
        )
        self._submission = Submission(api, settings, self._journal, order)

    def estimate(self) -> None:
        """Upload, and say what the server thinks that it will cost."""
        usd = self._submission.estimated_usd(self._submission.upload())
        cost = "the server gives no estimate" if usd is None else f"${usd} by the server's estimate"
        say(f"{self._path}: {self._requests} requests, {cost}; nothing is submitted yet")

    def submit(self) -> None:
        """Make sure that the batch exists."""
        batch_id = self._submission.create()
        note(f"{self._path}: batch {quoted(batch_id, 80)}, {self._requests} requests")

    def cancel(self) -> None:
        """Stop the batch; what has been answered is kept."""
        batch_id = self._journal.entries.batch_id
        if batch_id is None:
            raise Stop(Exit.INPUT, f"No batch of {quoted(str(self._path))} is known to be running.")
        path = f"/batches/{safe(batch_id)}"
        if _status(self._api.get(path)) not in TERMINAL:
            self._api.post(path + "/cancel")

    def follow(self, deadline: float | None) -> Exit:
        """Wait for the end, reading on meanwhile, and give the result files their names."""
        if self._journal.entries.ended is not None and self._output.exists():
            return self._report(self._journal.entries.ended)
        output = LineFile(self._output, self._requests)
        errors = LineFile(self._errors, self._requests)
        noted, pause = "", _FIRST_PAUSE_SECONDS
        while True:
            batch = self._api.get(f"/batches/{safe(self._journal.entries.batch_id or '')}")
            status, counts = _status(batch), _counts(batch)
            progress = f"{status}, {counts[0]} answered and {counts[1]} failed"
            if progress != noted:
                note(f"{self._path}: {progress} of {self._requests}")
                noted = progress
            if status in TERMINAL:
                break
            if batch.get("output_file_id"):
                with _unless_gone():
                    output.read_on(self._api, _content_of(batch["output_file_id"]))
            pause = min(pause * 2, self._poll_seconds)
            if deadline is not None and time.monotonic() + pause > deadline:
                say(f"{self._path}: still {status}; run the same command again to go on")
                return Exit.RUNNING
            time.sleep(pause)
        try:
            self._collect(output, batch.get("output_file_id"), counts[0])
            self._collect(errors, batch.get("error_file_id"), counts[1])
        except Refused as error:
            if not error.is_gone or not self._collect_list(output, errors, status):
                raise
        _refuse_empty_failure(batch, output.lines + errors.lines)
        if sum(counts) or status == "completed":
            output.refuse_if_unreadable()
            errors.refuse_if_unreadable()
        errors.publish()
        output.publish()
        self._journal.note(ended=status)
        return self._report(status)

    def _collect(self, file: LineFile, file_id: Any, expected: int) -> None:
        """Read a file to its end; lines that came late or moved are caught by reading it anew."""
        if not file_id:
            return
        file.read_on(self._api, _content_of(file_id))
        for wait_seconds in range(_REREADS):
            if file.count_unique() == expected:
                return
            time.sleep(wait_seconds)
            file.forget()
            file.read_on(self._api, _content_of(file_id))

    def _collect_list(self, output: LineFile, errors: LineFile, status: str) -> bool:
        """Take the lines of files that are gone from the batch's list of results, if it has one."""
        listed = LineFile(self._path.with_name(self._path.stem + ".list.jsonl"), self._requests)
        listed.forget()
        try:
            listed.read_on(
                self._api, f"/batches/{safe(self._journal.entries.batch_id or '')}/results"
            )
        except Refused as error:
            if error.is_gone:
                return False
            raise
        except Lost:  # the list of a batch that ended with its input file breaks off each time
            if status != "cancelled":
                raise
        note(f"{self._path}: a result file is gone; the lines come from the list of results")
        output.take(listed.with_status("completed"))
        errors.take(listed.with_status("failed"))
        listed.forget()
        return True

    def _report(self, status: str) -> Exit:
        answered, failed = _lines_of(self._output), _lines_of(self._errors)
        lost = self._requests - answered - failed
        say(f"{self._path}: {status}; {answered} answered, {failed} failed, {lost} without a line")
        say(f"results: {self._output}")
        say(f"errors: {self._errors}")
        return Exit.DONE if answered == self._requests else Exit.INCOMPLETE

    def _refuse_to_replace(self) -> None:
        for path in (self._output, self._errors):
            if path.exists():
                raise Stop(
                    Exit.INPUT,
                    f"{quoted(str(path))} is there already; nothing was sent.",
                    "Move it away, or give the request file another name.",
                )


def _content_of(file_id: object) -> str:
    """The path of a file's lines."""
    return f"/files/{safe(str(file_id))}/content"


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over a file that is not there; at the end of the batch it is looked for again."""
    try:
        yield
    except Refused as error:
        if not error.is_gone:
            raise


def _status(batch: dict[str, Any]) -> str:
    status = status_of(batch)
    if status == "cancelling":  # some servers leave it so for ever
        since = _count(batch.get("cancelling_at") or batch.get("expires_at"))
        if since and time.time() - since > _LONGEST_CANCELLATION_SECONDS:
            return "cancelled"
    return status


def _counts(batch: dict[str, Any]) -> tuple[int, int]:
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    return _count(counts.get("completed")), _count(counts.get("failed"))


def _count(value: object) -> int:
    """A count that is only shown: what cannot be read as one is none."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return 0


def _refuse_empty_failure(batch: dict[str, Any], lines: int) -> None:
    """Of a batch that was refused as a whole, the server's words are all there is."""
    if _status(batch) != "failed" or lines:
        return
    words = first_error(batch)
    raise Stop(
        Exit.REFUSED,
        f"The server failed the batch as a whole{': ' + quoted(words) if words else ''}.",
        "No request ran; correct the file and give it another name.",
    )


def _lines_of(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        return sum(1 for _ in stream)
