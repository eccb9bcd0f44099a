"""Small tables, made into jobs and answered, and how many requests that took."""

import csv

PROMPT = "Say {{ text }}"
REVIEWS = [{"text": "a fine book", "stars": 5}, {"text": "a dull one", "stars": 1}]


class Sent:
    """What a server has been asked for since it was made."""

    def __init__(self, jobs):
        self._jobs = jobs

    async def requests(self, *jobs):
        """Requests of these jobs' batches, as the server counts them."""
        ws = await self._jobs.workspace()
        runs = [r for j in jobs for r in ws.store.batch_runs(ws.store.job_named(j.name).id)]
        return sum([(await ws.client.batches.get(r.batch_id)).request_counts.total for r in runs])


def table(path, texts):
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text"])
        rows.writerows([text] for text in texts)
    return path


def texts(count):
    return [f"row {n}" for n in range(count)]


async def done(jobs, source, **asked):
    """A job from a table to its answers."""
    job = await jobs.create(source, prompt=PROMPT, model="m", **asked)
    await job.submit()
    assert (await job.wait(60)).complete
    return job, await job.results()


def answers(results):
    return [(row["text"], row["outcome"], row["answer"]) for row in results.rows()]
