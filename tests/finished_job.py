"""A job whose batch has ended, made of a source and of the lines a provider would send."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from doubleword_batch.errors import NotFoundError
from doubleword_batch.jobs.build_source import stamp_of
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.models import Batch
from doubleword_batch.paths import Roots
from doubleword_batch.providers import profile
from doubleword_batch.sources import open_source


def chat(content=None, *, calls=(), finish="stop"):
    """The body of an answer."""
    message = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"function": {"name": name, "arguments": arguments}} for name, arguments in calls
        ]
    return {"choices": [{"message": message, "finish_reason": finish}]}


def result_line(number, body):
    """A line of the output file, or of the error file for a body that is a text."""
    line = {"id": f"q{number}", "custom_id": f"r{number}", "response": None, "error": None}
    if isinstance(body, str):
        line["error"] = {"code": "server", "message": body}
    else:
        line["response"] = {"status_code": 200, "body": body}
    return json.dumps(line).encode() + b"\n"


class Files:
    """The provider's files, from memory."""

    def __init__(self):
        self.content_of = {}

    async def content(self, file_id, sink, *, skip=0):
        for line in self.content_of[file_id].splitlines(keepends=True)[skip:]:
            await sink(line)


class Batches:
    """A provider without lists of results and bills."""

    async def results(self, *_args, **_options):
        raise NotFoundError("none", status=404)

    async def analytics(self, _batch_id):
        raise NotFoundError("none", status=404)


@dataclass
class Finished:
    """A job of the store, and everything needed to make its table."""

    ws: Workspace
    name: str
    folder: Path

    @property
    def job(self):
        return StoredJob.named(self.ws, self.name)

    def table(self):
        return Table(self.job)

    async def answers(self, *bodies, status="completed"):
        """A further batch of the job ends with these bodies, the first for row 1; None: no line."""
        store, job = self.ws.store, self.job
        part = store.parts(job.id)[0]
        number = len(store.batch_runs(job.id)) + 1
        lines = [result_line(row, body) for row, body in enumerate(bodies, 1) if body is not None]
        good = [line for line in lines if b'"error": null' in line]
        bad = [line for line in lines if line not in good]
        files = self.ws.client.files.content_of
        files[f"o{number}"], files[f"e{number}"] = b"".join(good), b"".join(bad)
        batch = Batch.model_validate(
            {
                "id": f"batch-{job.id}-{number}",
                "status": status,
                "output_file_id": f"o{number}",
                "error_file_id": f"e{number}",
                "request_counts": {"total": job.rows, "completed": len(good), "failed": len(bad)},
            }
        )
        store.record_batch(job.id, part.id, batch)
        await collect(self.job)


async def finished_job(
    folder,
    store,
    source,
    *bodies,
    spec=None,
    endpoint="/v1/chat/completions",
    status="completed",
    model="m",
):
    roots = Roots([folder])
    client = SimpleNamespace(files=Files(), batches=Batches())
    ws = Workspace(client, profile("local"), store, roots, "test", "local")
    opened = open_source(source, roots)
    rows = sum(1 for _ in opened.rows())
    job = store.begin_job(
        provider="local",
        base_url="local",
        endpoint=endpoint,
        model=model,
        fingerprint="f",
        spec=json.dumps(spec or {"prompt": "p"}, separators=(",", ":")),
        source_fingerprint=opened.fingerprint(),
    )
    ws_ledger = [(row, f"r{row}", 1) for row in range(1, rows + 1)]
    store.add_part(
        job=job, number=1, retry_round=0, path=None, requests=rows, size_bytes=1, sha256="s"
    )
    stamp = stamp_of(opened.paths)
    store.set_job(job, name=f"t-{job}", source=source, source_stamp=stamp, rows=rows)
    store.job_folder(f"t-{job}").mkdir(parents=True)
    finished = Finished(ws, f"t-{job}", store.job_folder(f"t-{job}"))
    finished.job.ledger.add_rows(ws_ledger)
    await finished.answers(*bodies, status=status)
    return finished
