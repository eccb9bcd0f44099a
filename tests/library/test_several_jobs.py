"""Jobs one after the other over tables that change: each distinct question is paid for once."""

import csv
from random import Random

import pytest

from as_doubleword import as_doubleword
from doubleword_batch import Jobs
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings

JOBS = 5
TEXTS = [f"plain {n}" for n in range(7)] + [f"flaky {n}" for n in range(3)]


@pytest.fixture
def settings(tmp_path):
    flaky = RequestFault(fault="flaky", match=Match(contains="flaky"), times=1)
    config = LocalConfig(
        home=tmp_path / "server",
        executor="simulate",
        max_attempts=1,
        faults=Faults(requests=(flaky,)),
    )
    with LocalServer(config) as running:
        yield Settings.from_environment(
            {
                "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
                **as_doubleword(running),
            }
        )


def edited(random, rows):
    """The table before with rows changed, added, doubled and left out."""
    kept = [text for text in rows if random.random() < 0.8]
    new = [random.choice(TEXTS) for _ in range(random.randint(2, 5))]
    doubled = random.sample(kept, min(2, len(kept)))
    found = kept + new + doubled
    random.shuffle(found)
    return found


async def sent_of(jobs, submitted):
    """How many requests the server has of a submission's batches."""
    ws = await jobs.workspace()
    found = [await ws.client.batches.get(batch) for batch in submitted.batch_ids]
    return sum(batch.request_counts.total for batch in found)


def options_of(random, names):
    """What of earlier answers a build is to take, and whether equal rows share."""
    return random.choice(
        [
            {},
            {"reuse_days": 1},
            {"reuse_days": 1e-9},  # none is so young
            {"reuse_from": random.choice(names)} if names else {},
            {"equal_rows": "separate"},
        ]
    )


def usable(options, answers, by_job):
    """The texts that have an answer which these options take."""
    if options.get("reuse_days") == 1e-9:
        return set()
    return by_job[options["reuse_from"]] if "reuse_from" in options else answers.keys()


async def fetched(job, texts, *, are_separate):
    """The rows' (text, outcome, answer), after what must hold of any job was seen to hold."""
    results = await job.results()
    rows = list(results.rows())
    assert sum(results.reply.ledger.values()) == len(rows) == len(texts)
    assert [row["text"] for row in rows] == texts
    found = [(row["text"], row["outcome"], row["answer"]) for row in rows]
    assert are_separate or len(set(found)) == len(set(texts))
    return found


@pytest.mark.parametrize("seed", [3, 17, 29])
async def test_each_distinct_question_without_an_answer_is_sent_once(seed, settings, tmp_path):
    random = Random(seed)
    answers: dict[str, set[str]] = {}
    by_job: dict[str, set[str]] = {}
    rows: list[str] = random.choices(TEXTS, k=6)
    async with Jobs(settings) as jobs:
        for number in range(JOBS):
            rows = edited(random, rows)
            path = tmp_path / f"rows-{number}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([["text"], *([text] for text in rows)])
            is_new = random.random() < 0.2
            options = {} if is_new else options_of(random, list(by_job))
            are_separate = "equal_rows" in options
            job = await jobs.create(
                path, prompt="Say {{ text }}", model="m", new_run=is_new, options=options
            )
            known = set() if is_new else set(rows) & usable(options, answers, by_job)
            requests, reused = job.created.requests, job.created.reused_rows or 0
            if are_separate:
                assert requests + reused == len(rows)
                assert len(known) <= reused <= sum(text in known for text in rows)
            else:
                assert requests == len(set(rows) - known)
                assert reused == sum(text in known for text in rows)
            submitted = await job.submit()
            was_cancelled = random.random() < 0.2
            if was_cancelled:
                await job.cancel()
            assert (await job.wait(120)).complete
            if requests and not was_cancelled:
                assert await sent_of(jobs, submitted) == requests
            found = await fetched(job, rows, are_separate=are_separate)
            failed = [text for text, outcome, _ in found if outcome != "ok"]
            if failed and random.random() < 0.5:
                retried = await job.retry()
                assert retried.rows + (retried.shared_rows or 0) == len(failed)
                assert (await job.wait(120)).complete
                found = await fetched(job, rows, are_separate=are_separate)
            if not are_separate:
                assert all(o == "ok" and a in answers[t] for t, o, a in found if t in known)
            by_job[job.name] = {text for text, outcome, _ in found if outcome == "ok"}
            for text, outcome, answer in found:
                if outcome == "ok":
                    answers.setdefault(text, set()).add(answer)
