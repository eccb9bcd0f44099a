"""Lines of our copies, in whatever order the batch gave them."""

import random

import pytest

from doubleword_batch.jobs.sync.stored_lines import StoredLines
from finished_job import chat

ROWS = 600


@pytest.fixture
async def job(finish, tmp_path):
    """A job whose copy is larger than what is read at once."""
    (tmp_path / "t.csv").write_text("t\n" + "x\n" * ROWS)
    chance = random.Random(3)  # seeded: the same lengths in every run
    return await finish("t.csv", *(chat(f"{n} " * chance.randrange(900)) for n in range(ROWS)))


@pytest.mark.parametrize("spread", [0, 20, ROWS])
async def test_an_answer_is_the_rows_own_in_whatever_order_they_are_read(job, spread):
    entries = list(job.job.ledger.entries(outcomes=("ok",)))
    chance = random.Random(spread)  # seeded
    entries.sort(key=lambda entry: entry.row + chance.uniform(0, spread))
    copies = StoredLines(job.job)
    answers = [copies.answer(entry).text.split() for entry in entries]
    copies.close()
    assert sum(entry.size_bytes for entry in entries) > 1 << 19
    assert [set(words) for words in answers] == [{f"{entry.row - 1}"} for entry in entries]
