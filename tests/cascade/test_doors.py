"""What a cascade is refused for, and that each door takes it; nothing is sent here."""

import json

import pytest

from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG, write_rows
from cli.commands import Shell
from doubleword_batch import InputError, Jobs, Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_API_KEY": "k",
            "DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1",
            "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
        }
    )


@pytest.fixture
def table(tmp_path):
    return write_rows(tmp_path / "rows.csv", 600)


def schema(**properties):
    return SCHEMA | {"properties": properties, "required": list(properties)}


REFUSED = {
    "no schema": ({"response_schema": None}, "names them"),
    "free text": ({"response_schema": schema(why={"type": "string"})}, "«why» may be free text"),
    "a list": (
        {"response_schema": schema(tags={"type": "array", "items": {"enum": ["a"]}})},
        "«tags» may be free text or a list",
    ),
    "a number": ({"response_schema": schema(score={"type": "number"})}, "«score»"),
    "a long text": (
        {"response_schema": schema(name={"type": "string", "maxLength": 65})},
        "«name»",
    ),
    "one of them": (
        {"response_schema": schema(a={"enum": ["x"]}, b={"type": ["string", "null"]})},
        "«b»",
    ),
    "tools": ({"params": {"tools": [{"type": "function", "function": {"name": "f"}}]}}, "tools"),
    "samples": ({"params": {"n": 3}}, "n asks for more"),
    "itself": ({"model": STRONG}, "is the job's own"),
    "zero temperature": (
        {"params": {"temperature": 0, "logprobs": False}},
        "always the same",
    ),
    "responses": ({"endpoint": "/v1/responses"}, "/v1/chat/completions only"),
    "few rows": ({"limit": 499}, "not worth it for 499 requests"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_a_cascade_cannot_decide_is_refused_with_the_reason(case, settings, table):
    more, words = REFUSED[case]
    given = {"prompt": PROMPT, "model": CHEAP, "response_schema": SCHEMA} | more
    async with Jobs(settings) as jobs:
        options = {"cascade": OPTION} | given.pop("options", {})
        with pytest.raises(InputError) as caught:
            await jobs.create(table, options=options, **given)
        assert words in caught.value.message
        assert caught.value.hint
        assert (await jobs.list()).lines == []


TAKEN = {
    "boolean": {"type": "boolean"},
    "whole numbers": {"type": ["integer", "null"]},
    "a short text": {"type": "string", "maxLength": 20},
    "a constant or null": {"anyOf": [{"const": "yes"}, {"type": "null"}]},
    "a definition": {"$ref": "#/$defs/label"},
}


@pytest.mark.parametrize("case", TAKEN)
async def test_labels_of_every_form_are_taken(case, settings, table):
    given = schema(label=TAKEN[case]) | {"$defs": {"label": {"enum": ["a", "b"]}}}
    async with Jobs(settings) as jobs:
        job = await jobs.create(
            table, prompt=PROMPT, model=CHEAP, response_schema=given, cascade=OPTION
        )
        assert job.created.requests == 600
        assert "if every row goes to both models: about $" in job.created.cost_note


@pytest.mark.parametrize(
    "option",
    [
        "yes",
        {},
        {"model": ""},
        {"model": STRONG, "target": 1},
        {"model": STRONG, "target": 0.995},
        {"model": STRONG, "target": "0.9"},
        {"model": STRONG, "target": True},
        {"model": STRONG, "score": "guess"},
        {"model": STRONG, "score": []},
        {"model": STRONG, "sample": 300},
    ],
    ids=json.dumps,
)
async def test_a_cascade_of_another_form_is_refused_with_the_form(option, settings, table):
    async with Jobs(settings) as jobs:
        with pytest.raises(InputError) as caught:
            await jobs.create(table, prompt=PROMPT, model=CHEAP, options={"cascade": option})
    assert caught.value.code == "invalid_argument"
    assert 'must be {"model": the strong model, "target": ' in caught.value.message


async def test_what_is_asked_depends_on_what_the_provider_writes(settings, table):
    async def body(**more):
        job = await jobs.create(table, prompt=PROMPT, model=CHEAP, response_schema=SCHEMA, **more)
        ws = await jobs.workspace()
        (path,) = (ws.store.job_folder(job.name)).glob("part-*.jsonl")
        return json.loads(path.read_text(encoding="utf-8").splitlines()[0])["body"]

    async with Jobs(settings) as jobs:
        plain = await body()
        assert await body(cascade=OPTION) == plain | {"logprobs": True}
        assert await body(cascade=OPTION | {"score": "agreement"}) == plain | {"n": 2}
        refused = {"logprobs": False}
        assert await body(cascade=OPTION, params=refused) == plain | refused | {"n": 2}


def test_the_command_line_names_the_strong_model_and_the_target(tmp_path):
    shell = Shell(tmp_path)
    write_rows(tmp_path / "rows.csv", 600)
    shell.write("schema.json", json.dumps(SCHEMA))
    order = ["create-file", "rows.csv", "-p", PROMPT, "--model", "m", "--schema", "schema.json"]
    made = shell.json(*order, "--cascade-model", "strong", "--cascade-target", "0.9")
    assert made["requests"] == 600
    (part,) = (shell.home / "jobs" / made["job"]).glob("part-*.jsonl")
    assert json.loads(part.read_text(encoding="utf-8").splitlines()[0])["body"]["n"] == 2
    alone = shell.run(*order, "--cascade-target", "0.9")
    assert alone.returncode != 0
    assert "--cascade-model" in alone.stderr
