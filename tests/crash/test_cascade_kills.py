"""Killed between and inside the rounds of a cascade, a job comes to the same table.

And each model is asked for each row once, where rows are equal, or answered by earlier jobs, too.
"""

import json
import re

import httpx
import pytest

from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG, TwoModels, write_texts
from crash.conftest import KILLED, RUNS, Case, Server
from crash.scenario import TABLES
from doubleword_batch.jobs.failpoints import CASCADE_STEPS, REUSE_STEPS
from doubleword_batch.local import LocalConfig, LocalServer

ROWS, MOST_REQUESTS = 520, 300
EARLIER = 2  # jobs before
PARTS = EARLIER + 2  # of the first round; the others have one each
OF_CHEAP, OF_STRONG = range(1, 41), range(41, 81)
TABLES_OF = {
    "cheap.csv": OF_CHEAP,
    "strong.csv": OF_STRONG,
    "rows.csv": [*range(1, ROWS + 1), *range(1, ROWS, 13)],
}
ORDER = {"scenario": "run_cascade", "max_requests": MOST_REQUESTS}
ASKED = {"prompt": PROMPT, "model": CHEAP, "response_schema": SCHEMA}
REQUESTS = [
    ASKED | {"source": "cheap.csv", "params": {"logprobs": True}},
    ASKED | {"source": "strong.csv", "model": STRONG},
    ASKED | {"source": "rows.csv", "options": {"cascade": OPTION}},
]
SAMPLE, REST = 1, 2

KILLS = [
    *((step, 1) for step in (*REUSE_STEPS, *CASCADE_STEPS)),
    *(
        (f"rebuild.{moment}", round_)
        for round_ in (SAMPLE, REST)
        for moment in ("written", "renamed")
    ),
    ("rebuild.published", SAMPLE),
    ("upload.answered", PARTS + SAMPLE),
    ("create.send", PARTS + REST),
    ("create.answered", PARTS + SAMPLE),
    ("create.answered", PARTS + REST),
    ("collect.copied", PARTS + SAMPLE),
]


@pytest.fixture(scope="module")
def two_models():
    return TwoModels(sure=0.7)


@pytest.fixture(scope="module")
def new_cascade(tmp_path_factory, two_models, runner):
    config = LocalConfig(home=tmp_path_factory.mktemp("two-models"), max_attempts=1)
    with LocalServer(config, executor=two_models) as running:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx.Client(base_url=running.base_url, headers=headers, timeout=30) as http:
            server = Server(running.base_url, running.token, http)

            def new(name):
                two_models.rows_asked.clear()
                case = Case(tmp_path_factory.mktemp("cascade"), name, server, runner)
                for table, numbers in TABLES_OF.items():
                    write_texts(case.work / table, numbers)
                (case.work / "requests.json").write_text(json.dumps(REQUESTS), encoding="utf-8")
                return case

            yield new


@pytest.fixture(scope="module")
def whole(new_cascade, two_models):
    """Tables, requests of each model and steps of a case that nothing happened to."""
    case = new_cascade("undisturbed")
    assert case.run(**ORDER) == 0
    return tables_of(case), dict(two_models.rows_asked), case.steps()


def tables_of(case):
    """The tables, but for what differs by case: an earlier job's name, and the minute."""
    read = {name: (case.work / name).read_text(encoding="utf-8") for name in TABLES[:2]}
    moment = r"-[0-9a-f]+, \d{4}-\d\d-\d\d \d\d:\d\dZ"
    return {name: re.sub(moment, "", text) for name, text in read.items()}


def test_an_undisturbed_cascade_asks_both_models_and_reaches_every_step(whole):
    _, asked, steps = whole
    of_strong = sum(model == STRONG for model, _ in asked)
    assert 200 < of_strong < ROWS
    of_cheap = {row for row in range(1, ROWS + 1) if row not in OF_STRONG}
    assert asked == {(CHEAP, row): 1 for row in of_cheap} | {
        key: 1 for key in asked if key[0] == STRONG
    }
    assert steps >= {step for step, _ in KILLS}


@pytest.mark.parametrize(("step", "turn"), KILLS)
def test_a_cascade_killed_at_a_step_comes_to_the_same_table(
    step, turn, new_cascade, whole, two_models
):
    tables, asked, _ = whole
    case = new_cascade(f"{step}-{turn}")
    assert case.run(**ORDER, step=step, turn=turn) == KILLED
    for _ in range(RUNS):
        if case.run(**ORDER) == 0:
            break
    assert tables_of(case) == tables
    assert dict(two_models.rows_asked) == asked
