"""Arguments of other types than the verbs take: taken where they can only mean one thing."""

import inspect
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from os import fsencode

import numpy as np
import pytest
from pydantic import create_model

from doubleword_batch import InputError, Jobs, run
from library.tables import REVIEWS

PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("prompt", 7, "The prompt must be a text."),
        ("model", 7, "model must be a text, not int."),
        ("endpoint", 7, "endpoint must be a text, not int."),
        ("response_schema", [1], "response_schema must be a JSON Schema, not list."),
        ("response_schema", dict, "response_schema must be a JSON Schema, not the class dict."),
        ("params", [1], "params must be a dictionary, not list."),
        ("params", "x", "params must be a dictionary, not str."),
        ("options", [1], "options must be a dictionary, not list."),
        ("cascade", "strong", "cascade must be a dictionary, not str."),
        ("id_column", 7, "id_column must be a text, not int."),
        ("limit", [1], "limit must be a whole number, not list."),
        ("output_path", 7, "output_path must be a path, not int."),
        ("completion_window", 24, "completion_window must be a text, not int."),
        ("timeout_seconds", "60", "timeout_seconds must be a number of seconds, not str."),
        ("timeout_seconds", float("nan"), "timeout_seconds must be a number of seconds, not float"),
        ("settings", {}, "settings must be made by Settings."),
    ],
)
def test_an_argument_of_another_type_is_refused_by_its_name(settings, argument, value, words):
    with pytest.raises(InputError) as error:
        run(REVIEWS, **{"prompt": PROMPT, "settings": settings, argument: value})
    assert error.value.message.startswith(words)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda _, job: job.submit(metadata={"a": 1}), "The keys and values of metadata"),
        (lambda _, job: job.submit(metadata=["a"]), "metadata must be a dictionary"),
        (lambda _, job: job.status(wait_seconds="5"), "wait_seconds must be a number of seconds"),
        (lambda _, job: job.wait("5"), "timeout_seconds must be a number of seconds"),
        (lambda _, job: job.results(query=7), "query must be a text"),
        (lambda _, job: job.results(format="xlsx"), "Tables are not written as «xlsx»"),
        (lambda jobs, _: jobs.upload(7), "path must be a path"),
        (lambda jobs, _: jobs.list("stuff"), "There is no kind «stuff»"),
        (lambda jobs, _: jobs.list(limit="many"), "limit must be a whole number"),
        (lambda jobs, _: jobs.list(search=7), "search must be a text"),
        (lambda jobs, _: jobs.create(b"t.csv", prompt="x"), "An object of the type bytes"),
    ],
)
async def test_so_it_is_by_the_steps_of_a_job(settings, call, words):
    async with Jobs(settings) as jobs:
        with pytest.raises(InputError, match="name must be a text"):
            jobs.job(7)
        job = await jobs.create(REVIEWS, prompt=PROMPT)
        await job.submit()
        with pytest.raises(InputError) as error:
            await call(jobs, job)
    assert error.value.message.startswith(words)


def request_of(settings, **arguments):
    """The body of the first request that `run` sent."""
    results = run(REVIEWS, prompt=PROMPT, settings=settings, **arguments)
    (part,) = (settings.home / "jobs" / results.reply.job).glob("part-*.jsonl")
    return json.loads(part.read_text(encoding="utf-8").splitlines()[0])["body"]


def test_a_model_of_pydantic_is_a_schema_and_so_is_the_path_of_one(settings, tmp_path):
    model = create_model("Review", label=(str, ...))
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(model.model_json_schema()), encoding="utf-8")
    for given in (model, path):
        rows = list(run(REVIEWS, prompt=PROMPT, response_schema=given, settings=settings))
        assert all(isinstance(row["label"], str) for row in rows)


def test_numbers_of_other_libraries_are_numbers(settings):
    params = {"max_tokens": np.int64(7), "temperature": Decimal("0.5"), "top_p": np.float32(0.5)}
    body = request_of(settings, params=params, limit=np.int64(1))
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.5)


def test_a_path_may_be_bytes_and_a_time_a_timedelta(settings, tmp_path, reviews):
    class Place:
        def __fspath__(self):
            return fsencode(reviews)

    answers = tmp_path / "answers.csv"
    results = run(
        Place(),
        prompt=PROMPT,
        output_path=fsencode(answers),
        timeout_seconds=timedelta(minutes=1),
        settings=settings,
    )
    assert results.path == answers


async def test_one_cause_of_a_retry_may_be_a_text(settings):
    async with Jobs(settings) as jobs:
        job = await jobs.create(REVIEWS, prompt=PROMPT)
        await job.submit()
        await job.wait()
        with pytest.raises(InputError, match=r"No row of job .* truncated\."):
            await job.retry("truncated")


def test_run_has_each_argument_of_create_with_its_default():
    def arguments(function):
        return {
            name: (parameter.default, parameter.annotation)
            for name, parameter in inspect.signature(function).parameters.items()
            if name not in {"self", "source", "prompt", "progress"}
        }

    assert arguments(Jobs.create).items() <= arguments(run).items()
    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'promt'"):
        run(REVIEWS, promt=PROMPT)


def test_an_open_cursor_of_sqlite_says_how_its_rows_are_given(settings):
    with closing(sqlite3.connect(":memory:")) as store:
        store.row_factory = sqlite3.Row
        select = "SELECT 'a fine book' AS text"
        with pytest.raises(InputError) as error:
            run(store.execute(select), prompt=PROMPT, settings=settings)
        assert "cursor.fetchall()" in error.value.hint
        results = run(store.execute(select).fetchall(), prompt=PROMPT, settings=settings)
    assert [row["text"] for row in results] == ["a fine book"]
