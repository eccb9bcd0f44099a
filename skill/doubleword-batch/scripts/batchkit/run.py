"""Takes a request file from the disk to its results; each step can be repeated."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.api import safe
from batchkit.atomic_files import check_can_write
from batchkit.batch_status import TERMINAL, counted, counts_of, first_error, status_of
from batchkit.cli import Exit, ScriptError, note, quoted, say
from batchkit.errors import ApiError, TransportError, TruncatedFileError
from batchkit.journal import Journal
from batchkit.ledger import STOPPED, UNREADABLE, request_lines
from batchkit.limits import Limits
from batchkit.result_files import LineFile, gathering
from batchkit.submission import Submission, SubmissionOptions
from batchkit.tables import refuse_table
from batchkit.validate import FIXES, check_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from batchkit.api import Api
    from batchkit.backoff import TimeLimit
    from batchkit.settings import Settings

_REREADS = 3
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_CANCELLATION_SECONDS = 3600
_LONGEST_WAIT_SECONDS = 600.0  # for lines that a batch counts, since the last one came


class RunOptions(NamedTuple):
    """How to run.

    Attributes:
        window: the completion window.
        max_cost_usd: do not submit above this.
        poll_seconds: longest time between two polls of the batch; the first ones come sooner.
        in_doubt_seconds: how long to look for a batch whose creation was never answered.
    """

    window: str
    max_cost_usd: Decimal | None
    poll_seconds: float
    in_doubt_seconds: float


class Run:
    """One request file on its way to results."""

    def __init__(self, api: Api, settings: Settings, path: Path, options: RunOptions) -> None:
        self._api = api
        self._path = path
        self._poll_seconds = options.poll_seconds
        refuse_table(path)
        report = check_file(path, Limits())
        if not report.is_ok:
            kind, faults = next((k, f) for k, f in report.faults.items() if k != "blank_line")
            raise ScriptError(
                Exit.INPUT,
                f"{quoted(str(path))}, line {faults[0].line}: {faults[0].message} {FIXES[kind]}",
                "Nothing was sent; validate_batch_file.py shows all faults.",
            )
        self._requests = report.requests
        self._custom_ids: set[str] | None = None
        self._gives_up = self._is_cut = False
        self._output = _results_of(path)
        self._errors = path.with_name(path.stem + ".errors.jsonl")
        self._journal = Journal(path, settings.base_url)
        if self._journal.is_new:
            self._refuse_to_replace()
            for written in (self._journal.path, gathering(self._output), gathering(self._errors)):
                check_can_write(written)  # before anything costs money
        caps = [cap for cap in (options.max_cost_usd, settings.max_cost_usd) if cap is not None]
        submission_options = SubmissionOptions(
            path, report.endpoint, options.window, min(caps, default=None), options.in_doubt_seconds
        )
        self._submission = Submission(api, settings, self._journal, submission_options)

    def estimate(self) -> None:
        """Upload, and show the server's estimate of the cost."""
        usd = self._submission.estimated_usd(self._submission.upload())
        cost = "the server gives no estimate" if usd is None else f"${usd} by the server's estimate"
        say(f"{self._path}: {self._requests} requests, {cost}; nothing is submitted yet")

    def submit(self) -> None:
        """Make sure that the batch exists."""
        batch_id = self._submission.create()
        note(f"{self._path}: batch {quoted(batch_id, 80)}, {self._requests} requests")

    def cancel(self) -> None:
        """Stop the batch and wait for no more lines; answers so far are kept."""
        self._gives_up = True
        batch_id = self._journal.entries.batch_id
        if batch_id is None:
            raise ScriptError(
                Exit.INPUT, f"No batch of {quoted(str(self._path))} is known to be running."
            )
        if _status(self._batch()) not in TERMINAL:
            batch_id = self._journal.entries.batch_id or batch_id
            self._api.post(f"/batches/{safe(batch_id)}/cancel")

    def follow(self, limit: TimeLimit) -> Exit:
        """Wait for the end, reading results meanwhile, and give the result files their names."""
        ended = self._journal.entries.ended if self._output.exists() else None
        if ended is None:
            return self._follow(limit)
        if self._journal.entries.lacking is not None:  # the lines may have arrived since
            with suppress(ScriptError):
                return self._follow(limit)
        return self._report(ended)

    def _follow(self, limit: TimeLimit) -> Exit:
        output = LineFile(self._output, self._requests)
        errors = LineFile(self._errors, self._requests)
        before = output.custom_ids() | errors.custom_ids()
        batch = self._ended_batch(output, limit)
        if batch is None:
            return Exit.RUNNING
        is_gone = self._read(batch, output, errors)
        _refuse_empty_failure(batch, output.lines + errors.lines)
        status, counts = _status(batch), counts_of(batch)[:2]
        if sum(counts) or status == "completed":
            output.refuse_if_unreadable()
            errors.refuse_if_unreadable()
        given = self._ours(output.custom_ids() | errors.custom_ids())
        if not is_gone and self._waits(status, counts, len(given), has_news=not given <= before):
            return Exit.RUNNING
        is_paid = not is_gone and len(given) < counts[0]
        is_lacking = status not in STOPPED and (is_paid or self._gives_up)
        errors.publish()
        output.publish()
        has_all = len(given) >= self._requests
        lacking = UNREADABLE if is_lacking and not has_all else None
        self._journal.note(ended=status, lacking=lacking)
        return self._report(status)

    def _ended_batch(self, output: LineFile, limit: TimeLimit) -> dict[str, Any] | None:
        """The batch once it has ended, with its answers read meanwhile; None if the time was up."""
        noted, pause = "", _FIRST_PAUSE_SECONDS
        while True:
            batch = self._batch()
            status, counts = _status(batch), counts_of(batch)[:2]
            progress = f"{status}, {counts[0]} answered and {counts[1]} failed"
            if progress != noted:
                note(f"{self._path}: {progress} of {self._requests}")
                noted = progress
            if status in TERMINAL:
                return batch
            if batch.get("output_file_id"):
                with _unless_gone():
                    output.read_on(self._api, _content_of(batch["output_file_id"]))
            pause = min(pause * 2, self._poll_seconds)
            if pause > limit.left():
                say(f"{self._path}: still {status}; run the same command again to continue")
                return None
            time.sleep(pause)

    def _read(self, batch: dict[str, Any], output: LineFile, errors: LineFile) -> bool:
        """Read both files to their ends; returns whether one is gone and the list replaces it."""
        counts = counts_of(batch)[:2]
        try:
            self._collect(output, batch.get("output_file_id"), counts[0])
            self._collect(errors, batch.get("error_file_id"), counts[1])
        except ApiError as error:
            if not error.is_gone or not self._collect_list(output, errors, _status(batch)):
                raise
            return True
        return False

    def _waits(self, status: str, counts: tuple[int, int], given: int, *, has_news: bool) -> bool:
        """Whether missing lines may still come; this is then reported and recorded."""
        expected = sum(counts)
        is_short = given < expected if expected else self._is_cut or status == "completed"
        has_ended = self._gives_up or self._journal.entries.ended is not None
        if has_ended or not is_short or given >= self._requests:
            return False
        now, since = time.time(), self._journal.entries.short_since
        since = now if since is None or has_news else min(since, now)
        if now - since >= _LONGEST_WAIT_SECONDS:
            return False
        self._journal.note(short_since=since)
        of = f"its {expected} requests" if expected else "its requests"
        say(
            f"{self._path}: the batch has ended, and the server has given lines for {given} of "
            f"{of}; the other rows wait for theirs. Nothing has to be paid again: run the same "
            "command again in a minute. With --cancel it gives these rows up."
        )
        return True

    def _ours(self, custom_ids: set[str]) -> set[str]:
        """The custom_ids that the request file has: a server may send another batch's file."""
        if self._custom_ids is None:
            self._custom_ids = {custom_id for custom_id, _ in request_lines(self._path)}
        return custom_ids & self._custom_ids

    def _batch(self) -> dict[str, Any]:
        """The batch's current state, from the server."""
        batch_id = self._journal.entries.batch_id or ""
        try:
            return self._api.get(f"/batches/{safe(batch_id)}")
        except ApiError as error:
            if not error.is_gone:
                raise
            return self._api.get(f"/batches/{safe(self._submission.find_again(error))}")

    def _collect(self, file: LineFile, file_id: Any, expected: int) -> None:
        """Read a file to its end; a second reading catches lines that came late or moved."""
        if not file_id:
            return
        try:
            file.read_on(self._api, _content_of(file_id))
            is_waiting = self._journal.entries.short_since is not None
            for wait_seconds in range(1 if is_waiting else _REREADS):
                if len(self._ours(file.custom_ids())) == expected:
                    return
                time.sleep(wait_seconds)
                file.forget()
                file.read_on(self._api, _content_of(file_id))
        except TruncatedFileError:  # its whole lines are here, and the others may follow
            self._is_cut = True

    def _collect_list(self, output: LineFile, errors: LineFile, status: str) -> bool:
        """Take the lines of files that are gone from the batch's list of results, if it has one."""
        path = self._path.with_name(self._path.stem + ".list.jsonl")
        listed = LineFile(path, self._requests, is_passing=True)
        listed.forget()
        try:
            listed.read_on(
                self._api, f"/batches/{safe(self._journal.entries.batch_id or '')}/results"
            )
        except ApiError as error:
            if error.is_gone:
                return False
            raise
        except TransportError:  # if the input file is gone too, this list breaks off each time
            if status != "cancelled":
                raise
        note(f"{self._path}: a result file is gone; the lines come from the list of results")
        output.take(listed.with_status("completed"))
        errors.take(listed.with_status("failed"))
        listed.forget()
        return True

    def _report(self, status: str) -> Exit:
        answers = self._ours(LineFile(self._output, self._requests).custom_ids())
        failures = self._ours(LineFile(self._errors, self._requests).custom_ids()) - answers
        answered, failed = len(answers), len(failures)
        lost = self._requests - answered - failed
        say(f"{self._path}: {status}; {answered} answered, {failed} failed, {lost} without a line")
        if lost and self._journal.entries.lacking is not None:
            say(
                f"{self._path}: the server counts answers that it never gave: the same command "
                "still looks for them; asking these rows again is paid again"
            )
        say(f"results: {self._output}")
        say(f"errors: {self._errors}")
        return Exit.DONE if answered == self._requests else Exit.INCOMPLETE

    def _refuse_to_replace(self) -> None:
        for path in (self._output, self._errors):
            if path.exists():
                raise ScriptError(
                    Exit.INPUT,
                    f"{quoted(str(path))} already exists; nothing was sent.",
                    "Move it away, or give the request file another name.",
                )


def refuse_shared_results(paths: list[Path]) -> None:
    """Refuse request files whose results would be written to the same file.

    Raises:
        ScriptError: two of them would.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        other = seen.setdefault(_results_of(path).resolve(), path)
        if other is not path:
            raise ScriptError(
                Exit.INPUT,
                f"{quoted(str(other))} and {quoted(str(path))} would have the same results file.",
                "Give them names that differ before their endings.",
            )


def _results_of(path: Path) -> Path:
    return path.with_name(path.stem + ".results.jsonl")


def _content_of(file_id: object) -> str:
    """The path of a file's lines."""
    return f"/files/{safe(str(file_id))}/content"


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore a missing file; it is looked for again at the end of the batch."""
    try:
        yield
    except ApiError as error:
        if not error.is_gone:
            raise


def _status(batch: dict[str, Any]) -> str:
    status = status_of(batch)
    if status == "cancelling":  # some servers leave it so forever
        since = counted(batch.get("cancelling_at") or batch.get("expires_at"))
        if since and time.time() - since > _LONGEST_CANCELLATION_SECONDS:
            return "cancelled"
    return status


def _refuse_empty_failure(batch: dict[str, Any], lines: int) -> None:
    """For a batch that was refused as a whole, the server's message is all there is."""
    if _status(batch) != "failed" or lines or any(counts_of(batch)[:2]):
        return
    words = first_error(batch)
    raise ScriptError(
        Exit.REFUSED,
        f"The server failed the batch as a whole{': ' + quoted(words) if words else ''}.",
        "No request ran; correct the file and give it another name.",
    )
