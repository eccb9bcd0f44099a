"""`Jobs` in event loops: each has its own, and a loop that cannot be used is said."""

import asyncio
from dataclasses import replace
from itertools import count

import anyio
import pytest

from doubleword_batch import InputError, Jobs, StoreError, run
from library.tables import REVIEWS

PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


def test_jobs_of_one_event_loop_are_refused_in_another(settings):
    jobs = Jobs(settings)
    asyncio.run(jobs.list())
    with pytest.raises(InputError, match="was opened in another event loop") as error:
        asyncio.run(jobs.list())
    assert "Make a Jobs in each event loop" in error.value.hint
    asyncio.run(jobs.close())
    assert asyncio.run(jobs.list()).lines == []  # it is opened anew
    asyncio.run(jobs.close())


def test_without_an_event_loop_of_asyncio_jobs_say_what_to_use(settings):
    call = Jobs(settings).list()
    with pytest.raises(InputError, match="need an event loop of asyncio"):
        call.send(None)


def test_run_works_where_another_kind_of_event_loop_runs(settings, monkeypatch):
    """Such as that of trio, in whose thread no other loop can be run."""
    begun = []

    def refuse(*_):
        begun.append(True)
        raise RuntimeError

    monkeypatch.setattr(anyio, "get_current_task", lambda: "a task of trio")
    monkeypatch.setattr("doubleword_batch.library.run.anyio.run", refuse)
    assert run(REVIEWS, prompt=PROMPT, settings=settings).reply.ledger == {"ok": 2}
    assert begun == []


def test_a_pilot_of_a_generator_without_end_ends(settings):
    rows = ({"text": f"review {number}"} for number in count())
    results = run(rows, prompt=PROMPT, limit=3, settings=settings)
    assert [row["text"] for row in results] == ["review 0", "review 1", "review 2"]


def test_a_generator_without_end_is_read_until_the_state_directory_is_full(tmp_path, settings):
    settings = replace(settings, max_state_bytes=1_000_000)
    rows = ({"text": "x" * 10_000} for _ in count())
    with pytest.raises(StoreError) as error:
        run(rows, prompt=PROMPT, settings=settings)
    assert error.value.code == "disk_full"
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2_000_000
