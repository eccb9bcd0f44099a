"""Batches that have ended are collected together, each with its own ending."""

import anyio
import pytest

from doubleword_batch.errors import ApiError
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.models import Batch
from finished_job import Files, chat, result_line

WAIT_SECONDS = 10


class BrokenFiles(Files):
    """The provider's files, of which one cannot be read."""

    async def content(self, file_id, sink, *, skip=0):
        if file_id == "broken":
            raise ApiError("The server cannot.", status=500)
        await super().content(file_id, sink, skip=skip)


def run_again(job, number, row, status, output=None, completed=0):
    """A batch of a retry that runs one row, and how it ended."""
    store, known = job.ws.store, job.job
    part = store.add_part(
        job=known.id, number=number, retry_round=1, path=None, requests=1, size_bytes=1, sha256="s"
    )
    known.ledger.reopen(number, [row])
    ended = {
        "id": f"again-{number}",
        "status": status,
        "output_file_id": output,
        "request_counts": {"total": 1, "completed": completed, "failed": 0},
    }
    store.record_batch(known.id, part, Batch.model_validate(ended))


def outcomes(job):
    return [entry.outcome for entry in job.job.ledger.entries()]


@pytest.fixture
async def job(finish, tmp_path):
    """Rows 2 to 4 had no answer and run again, in a batch each."""
    (tmp_path / "t.csv").write_text("t\na\nb\nc\nd\n")
    job = await finish("t.csv", chat("x"))
    run_again(job, 2, 2, "expired")
    run_again(job, 3, 3, "completed", output="broken", completed=1)
    run_again(job, 4, 4, "cancelled")
    return job


async def test_each_row_without_a_line_ends_as_its_own_batch_did(job):
    files = job.ws.client.files.content_of
    files["broken"] = result_line(3, chat("y"))
    await collect(job.job)
    assert outcomes(job) == ["ok", "expired", "ok", "cancelled"]
    assert all(batch_run.collected for batch_run in job.ws.store.batch_runs(job.job.id))


@pytest.mark.parametrize("batches", [2, 4, 5, 9])
async def test_the_lines_of_each_batch_are_counted_however_many_there_are(
    finish, tmp_path, batches
):
    rows = range(1, batches + 1)
    (tmp_path / "t.csv").write_text("t\n" + "".join(f"text {row}\n" for row in rows))
    job = await finish("t.csv", chat("x"))
    files = job.ws.client.files.content_of
    for row in rows[1:]:
        run_again(job, row, row, "completed", output=f"again-{row}", completed=1)
        files[f"again-{row}"] = result_line(row, chat("y"))
    files[f"again-{batches}"] = b""  # the provider counts an answer that it does not give
    collected = await collect(job.job)
    assert outcomes(job) == ["ok"] * (batches - 1) + ["pending"]
    assert (collected.lines, collected.repeated) == (batches - 2, 0)  # none was read again
    assert "does not give its answers yet" in " ".join(collected.notes)
    runs = job.ws.store.batch_runs(job.job.id)
    assert [run.collected for run in runs] == [True] * (batches - 1) + [False]


class FilesOfAll(Files):
    """The provider's files, none of which comes before all have been asked for."""

    def __init__(self, count):
        super().__init__()
        self._missing = count
        self._all = anyio.Event()

    async def content(self, file_id, sink, *, skip=0):
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self._all.wait()
        await super().content(file_id, sink, skip=skip)


async def test_the_files_of_several_parts_are_read_at_the_same_time(finish, tmp_path):
    (tmp_path / "t.csv").write_text("t\na\nb\nc\nd\n")
    job = await finish("t.csv", chat("x"))
    files = FilesOfAll(3)
    for row in (2, 3, 4):
        run_again(job, row, row, "completed", output=f"file-{row}", completed=1)
        files.content_of[f"file-{row}"] = result_line(row, chat("y"))
    job.ws.client.files = files
    with anyio.fail_after(WAIT_SECONDS):  # one after the other, the first would never come
        collected = await collect(job.job)
    assert outcomes(job) == ["ok"] * 4
    assert collected.lines == 3


async def test_a_batch_that_cannot_be_read_does_not_keep_the_ones_before_it_open(job):
    files = BrokenFiles()
    files.content_of = job.ws.client.files.content_of
    job.ws.client.files = files
    with pytest.raises(ApiError):
        await collect(job.job)
    assert outcomes(job) == ["ok", "expired", "pending", "pending"]


class AskedFiles(Files):
    """The provider's files, and which of them were asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    async def content(self, file_id, sink, *, skip=0):
        self.asked.append(file_id)
        await super().content(file_id, sink, skip=skip)


@pytest.mark.parametrize(
    ("status", "counts", "asked"),
    [
        ("in_progress", {"total": 1, "completed": 1, "failed": 0}, ["output"]),
        ("in_progress", {"total": 1, "completed": 0, "failed": 1}, ["output", "error"]),
        ("in_progress", {}, ["output", "error"]),
        ("completed", {"total": 1, "completed": 1, "failed": 0}, ["output", "error"]),
    ],
    ids=["runs without a failure", "runs with one", "runs and counts nothing", "has ended"],
)
async def test_an_error_file_waits_only_while_its_batch_runs_and_counts_no_failure(
    finish, tmp_path, status, counts, asked
):
    (tmp_path / "t.csv").write_text("t\na\nb\n")
    job = await finish("t.csv", chat("x"))
    store, known = job.ws.store, job.job
    (part,) = store.parts(known.id)
    before, files = job.ws.client.files, AskedFiles()
    files.content_of = before.content_of | {"output": result_line(2, chat("y")), "error": b""}
    job.ws.client.files = files
    seen = {"id": "now", "status": status, "output_file_id": "output", "error_file_id": "error"}
    store.record_batch(known.id, part.id, Batch.model_validate(seen | {"request_counts": counts}))
    await collect(known)
    assert [name for name in files.asked if name not in before.content_of] == asked
