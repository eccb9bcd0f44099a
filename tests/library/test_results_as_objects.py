"""The results of a job as an object of Python: walked through, given on, and after its table."""

import pytest

from doubleword_batch import InputError, Jobs, run
from library.tables import REVIEWS

PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


def test_results_are_walked_through_row_by_row(settings):
    results = run(REVIEWS, prompt=PROMPT, settings=settings)
    assert [row["text"] for row in results] == [row["text"] for row in REVIEWS]
    assert list(results) == list(results.rows())


async def test_a_job_and_its_results_are_the_source_of_the_next(settings):
    async with Jobs(settings) as jobs:
        job = await jobs.create(REVIEWS, prompt=PROMPT)
        await job.submit()
        await job.wait()
        results = await job.results()
        names: set[str] = set()
        for source in (job, results, f"job:{job.name}"):
            following = await jobs.create(source, prompt="Shorter: {{ answer }}")
            await following.submit()
            await following.wait()
            names.add(following.name)
            rows = list(await following.results())
            assert [row["text"] for row in rows] == [row["text"] for row in REVIEWS]
        assert len(names) == 1  # the same source is the same job
        asked = await job.results(query="SELECT count(*) FROM results")
        with pytest.raises(InputError) as error:
            await jobs.create(asked, prompt=PROMPT)
        assert f"job:{job.name}::SELECT" in error.value.hint


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("content", [None, b"\xff{garbled\n", b""])
def test_a_table_that_is_gone_or_was_changed_is_said(settings, tmp_path, ending, content):
    answers = tmp_path / f"answers.{ending}"
    results = run(REVIEWS, prompt=PROMPT, output_path=answers, settings=settings)
    answers.unlink()
    if content is not None:
        answers.write_bytes(content)
    if content == b"" and ending != "parquet":
        assert list(results) == []
        return
    with pytest.raises(InputError) as error:
        results.to_pandas()
    assert error.value.hint


def test_truths_with_gaps_are_truths_in_pandas(settings):
    rows = [{"text": "a", "read": True}, {"text": "b", "read": None}, {"text": "c", "read": False}]
    frame = run(rows, prompt=PROMPT, settings=settings).to_pandas()
    assert str(frame["read"].dtype) == "boolean"
    assert frame[frame["read"] & frame["read"].notna()]["text"].tolist() == ["a"]
