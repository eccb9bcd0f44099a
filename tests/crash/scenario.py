"""A whole job through the public verbs, as an agent would run it that was started again.

It keeps no notes: after a crash it makes the same calls from the start, and looks before it asks
for anything that may be under way.
"""

import json

import anyio

from doubleword_batch.errors import InputError, RejectedError, TransportError
from doubleword_batch.jobs.build import create_batch_file
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.status import get_status
from doubleword_batch.jobs.submit import create_batch

TABLES = ("answers.jsonl", "answers.csv", "cancelled.jsonl")
_CALLS = 30
_MADE_ALREADY = {"still_running", "nothing_to_retry"}


async def run_scenario(ws, work):
    """Build, submit, follow, retry in place, retry anew, cancel another job, write the tables."""
    job = await submitted(ws, "rows.csv", "Say {{ text }}")
    await no_row_fails(ws, job)
    await once_more(ws, job)
    await ended(ws, job)
    for name in TABLES[:2]:
        await fetch_results(ws, job, output_path=str(work / name), overwrite=True, sample=0)
    await stopped(ws, work)


async def run_division(ws, work):
    """A job whose parts the server finds too large: it goes on in smaller ones."""
    created = await create_batch_file(
        ws, BuildRequest(source="rows.csv", prompt="{{ text }}", model="m")
    )
    for _ in range(_CALLS):
        try:
            await certain(lambda: create_batch(ws, created.job))
            break
        except RejectedError as error:
            assert error.code == "too_large", error  # noqa: PT017  # any other ends the run
    await ended(ws, created.job)
    await fetch_results(
        ws, created.job, output_path=str(work / TABLES[0]), overwrite=True, sample=0
    )


async def run_cascade(ws, work):
    """A job with a strong model behind it, after jobs of either: whoever looks carries it on."""
    *earlier, asked = json.loads((work / "requests.json").read_text(encoding="utf-8"))
    for request in earlier:
        await fetch_results(ws, await _ended(ws, request))
    job = await _ended(ws, asked)
    for name in TABLES[:2]:
        await fetch_results(ws, job, output_path=str(work / name), overwrite=True)


async def _ended(ws, asked):
    created = await create_batch_file(ws, BuildRequest(**asked))
    await certain(lambda: create_batch(ws, created.job))
    for _ in range(_CALLS):
        if (await certain(lambda: get_status(ws, created.job, wait_seconds=10))).complete:
            return created.job
    raise AssertionError(f"{created.job} does not end")


async def run_wave(ws, work):
    """A job whose first requests go before the others: whoever looks sends these."""
    created = await create_batch_file(
        ws,
        BuildRequest(source="alike.csv", prompt="{{ text }}", model="m", options={"first_wave": 1}),
    )
    await certain(lambda: create_batch(ws, created.job))
    for _ in range(_CALLS):
        if (await certain(lambda: get_status(ws, created.job, wait_seconds=10))).complete:
            break
    else:
        raise AssertionError(f"{created.job} does not end")
    await fetch_results(
        ws, created.job, output_path=str(work / TABLES[0]), overwrite=True, sample=0
    )


async def once_more(ws, job):
    """Retry what was cut, in new parts, one time."""
    if all(not part.retry_round for part, _ in StoredJob.named(ws, job).newest_runs()):
        await begun(lambda: retry_failed(ws, job, causes=["truncated"], params={"max_tokens": 5}))
    elif StoredJob.named(ws, job).status() == "uploaded" or not_sent(ws, job):
        await begun(lambda: retry_failed(ws, job))


async def run_reuse(ws, work):
    """A job, and one over its rows and more, some of them equal: these fail and are cut first."""
    job = await submitted(ws, "rows.csv", "Say {{ text }}")
    await no_row_fails(ws, job)
    rows = (work / "rows.csv").read_text(encoding="utf-8")
    more = "".join(f'{n},"new {n % 4}"\n' for n in range(11, 17))
    (work / "more.csv").write_text(rows + more, encoding="utf-8")
    job = await submitted(ws, "more.csv", "Say {{ text }}")
    await no_row_fails(ws, job)
    await once_more(ws, job)
    await ended(ws, job)
    await fetch_results(ws, job, output_path=str(work / TABLES[0]), overwrite=True, sample=0)


async def run_anew(ws, work):
    """A job that waits for answers of one that runs: made again, it is built anew."""
    job = await submitted(ws, "held.csv", "Hold {{ text }}")
    rows = (work / "held.csv").read_text(encoding="utf-8")
    (work / "more.csv").write_text(rows + "d\n", encoding="utf-8", newline="\n")
    asked = BuildRequest(source="more.csv", prompt="Hold {{ text }}", model="m")
    for _ in range(2):
        created = await create_batch_file(ws, asked)
        with (work / "names.txt").open("a", encoding="utf-8") as names:
            names.write(f"{created.job} {created.requests} {created.warnings[0]}\n")
    await begun(lambda: cancel(ws, job))


async def stopped(ws, work):
    """A job that never ends by itself is cancelled, and its rows are accounted for."""
    job = await submitted(ws, "held.csv", "Hold {{ text }}")
    if not StoredJob.named(ws, job).has_ended():
        await begun(lambda: cancel(ws, job))
    await ended(ws, job)
    await fetch_results(ws, job, output_path=str(work / TABLES[2]), overwrite=True, sample=0)


async def submitted(ws, source, prompt):
    created = await create_batch_file(ws, BuildRequest(source=source, prompt=prompt, model="m"))
    await certain(lambda: create_batch(ws, created.job))
    return created.job


async def no_row_fails(ws, job):
    for _ in range(_CALLS):
        await ended(ws, job)
        results = await fetch_results(ws, job, sample=0)
        if not results.ledger.get("failed"):
            return
        await begun(lambda: retry_failed(ws, job))
    raise AssertionError(f"{job} still has failed rows")


def not_sent(ws, job):
    return any(batch_run is None for _, batch_run in StoredJob.named(ws, job).newest_runs())


async def ended(ws, job):
    if not_sent(ws, job):
        return
    for _ in range(_CALLS):
        if (await get_status(ws, job, wait_seconds=10)).complete:
            return
    raise AssertionError(f"{job} does not end")


async def begun(call):
    """Make a call that an earlier run may have made already."""
    try:
        await certain(call)
    except InputError as error:
        if error.code not in _MADE_ALREADY:
            raise


async def certain(call):
    """Make a call, and again for as long as it is not known what became of it."""
    for _ in range(_CALLS):
        try:
            return await call()
        except TransportError as error:
            if error.code != "unconfirmed":
                raise
            await anyio.sleep(0.2)
    raise AssertionError("never confirmed")
