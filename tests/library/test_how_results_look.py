"""What a person sees who prints a job or its results in a notebook: one line that says what is,
and of a reply only what there is to say."""

from decimal import Decimal

from doubleword_batch import Jobs
from doubleword_batch.jobs.replies import Results
from doubleword_batch.library.job_results import JobResults
from doubleword_batch.settings import Settings


async def test_a_printed_job_and_its_results_are_a_line_with_name_rows_outcomes_and_cost(tmp_path):
    settings = Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )
    async with Jobs(settings) as jobs:
        rows = [{"text": f"row {n}"} for n in range(3)]
        job = await jobs.create(rows, prompt="Say {{ text }}")
        await job.submit()
        ended = await job.wait()
        results = await job.results(tmp_path / "answers.csv")
        table = results.reply.output_path
    assert str(job) == f"Job({job.name!r}: 3 rows, free)"
    assert str(jobs.job(job.name)) == f"Job({job.name!r})"
    assert str(results) == f"JobResults({job.name!r}: 3 rows, 3 ok, free, {table!r})"
    counts = "Counts(total=3, completed=3, failed=0, skipped=None)"
    batches = f"batch_ids={ended.batch_ids!r}"
    shown = (
        f"job={job.name!r} status='completed' complete=True {batches} counts={counts} percent=100.0"
    )
    assert str(ended) == shown


def test_the_line_has_each_outcome_and_the_cost_or_that_it_is_unknown():
    reply = Results.model_construct(
        job="a-1", rows=1_200, ledger={"ok": 1_199, "error": 1, "missing": 0}, cost_note="billed"
    )
    paid = reply.model_copy(update={"cost_usd": Decimal("0.0315")})
    assert repr(JobResults(reply)) == (
        "JobResults('a-1': 1,200 rows, 1,199 ok, 1 error, cost unknown)"
    )
    assert repr(JobResults(paid)) == "JobResults('a-1': 1,200 rows, 1,199 ok, 1 error, $0.0315)"
