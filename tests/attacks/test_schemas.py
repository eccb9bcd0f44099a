"""Schemas and answers that break or hold up the check: one row is invalid, and nothing else."""

import json
import socket
import time

import anyio
import pytest

from agent import agent
from doubleword_batch.isolated import schema as checking
from doubleword_batch.isolated import schema_child
from doubleword_batch.isolated.schema import InvalidSchemaError, SchemaChecker
from doubleword_batch.requests.response_schema import unwrapped
from finished_job import chat
from unit.jobs.conftest import finish

__all__ = ["finish"]

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}
TREE = {
    "type": "object",
    "properties": {
        "kids": {"type": "array", "items": {"$ref": "#"}},
        "price": {"type": "number", "multipleOf": 0.01},
        "words": {"type": "string", "pattern": r"^(\w+\s?)*$"},
        "behind": {"type": "string", "pattern": r"^(?=x)(\w+\s?)*$"},
        "letters": {"type": "string", "pattern": r"^\p{L}+$"},
        "set": {"uniqueItems": True},
        "steps": {"type": "integer", "multipleOf": 3},
        "most": {"maximum": 10.5},
        "one": {"enum": [1.5]},
    },
}
# Each level is tried both ways, in vain: the tries double.
BRANCHING = {
    "type": "object",
    "oneOf": [
        {"properties": {"a": {"$ref": "#"}}, "required": ["y"]},
        {"properties": {"a": {"$ref": "#"}}, "required": ["z"]},
    ],
}


def nested(depth):
    return '{"kids":[' * depth + "{}" + "]}" * depth


HOSTILE = {
    "a pattern that backtracks": json.dumps({"words": "a" * 40 + "!"}),
    "one with look-ahead": json.dumps({"behind": "x" * 40 + "!"}),
    "depth 100": nested(100),
    "depth 200": nested(200),
    "depth 900": nested(900),
    "depth 20000": nested(20_000),
    "400 digits": '{"price":%s}' % ("9" * 400),
    "4000 digits": '{"steps":%s}' % ("9" * 4000),
    "5000 digits": '{"steps":%s}' % ("9" * 5000),
    "a huge exponent": '{"price":1e400}',
    "the largest float": '{"price":1e308}',
    "a maximum": '{"most":%s}' % ("9" * 400),
    "an enum": '{"one":%s}' % ("9" * 400),
    "numbers that differ": json.dumps({"set": list(range(8000))}),
    "objects that differ": json.dumps({"set": [{"a": n} for n in range(8000)]}),
    "letters": '{"letters":"é"}',
    "half a character": '{"words":"\\ud800"}',
    "a NUL": '{"words":"\\u0000"}',
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_is_judged_alone_and_soon(finish, tmp_path, name):
    (tmp_path / "t.csv").write_text("text\n" + "row\n" * 20)
    began = time.monotonic()
    answers = [chat(HOSTILE[name] if n == 7 else '{"words": "fine"}') for n in range(20)]
    job = await finish("t.csv", *answers, spec={"response_schema": TREE})
    sums = job.job.ledger.sums()
    assert sums.get("ok", 0) >= 19
    assert sum(sums.values()) == 20
    assert time.monotonic() - began < 20


async def test_a_check_that_would_not_end_makes_its_row_invalid(finish, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_ANSWER_SECONDS", 0.5)
    (tmp_path / "t.csv").write_text("text\n" + "row\n" * 4)
    deep = '{"a":' * 60 + "{}" + "}" * 60
    bodies = (chat('{"y": 1}'), chat(deep), chat('{"z": 1}'), chat("{}"))
    job = await finish("t.csv", *bodies, spec={"response_schema": BRANCHING})
    assert job.job.ledger.sums() == {"ok": 2, "invalid": 2}
    messages = [row["error"] for row in job.table().rows() if row["outcome"] == "invalid"]
    assert any("took too long" in message for message in messages)


def test_a_memory_bomb_ends_the_child_and_not_us(monkeypatch):
    monkeypatch.setattr(checking, "MEMORY_BYTES", 64 << 20)
    checker = SchemaChecker({"type": "object"})
    huge = {"a": ["x"] * 3, "b": [[]] * 12_000_000}
    try:
        assert checker.problems([{"a": 1}, huge, {"a": 2}])[::2] == [None, None]
        assert "too" in checker.problems([huge])[0]
    finally:
        checker.close()


@pytest.fixture
def listener():
    """An address on which a fetched reference would be noticed."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)
        yield server


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("http://127.0.0.1:{port}/x", "not followed"),
        ("https://127.0.0.1:{port}/x", "not followed"),
        ("//127.0.0.1:{port}/x", "not followed"),
        ("file://{secret}", "not followed"),
        ("{secret}", "not followed"),
        ("other.json", "not followed"),
        ("#/$defs/none", "not in the schema"),
        ("#nowhere", "not in the schema"),
        ("#/properties/none/0", "not in the schema"),
    ],
)
async def test_a_reference_out_of_the_schema_is_refused_when_it_is_given(
    settings, reviews, work, listener, reference, words
):
    (work / "secret.json").write_text('{"type": "integer"}')
    port = listener.getsockname()[1]
    reference = reference.format(port=port, secret=work / "secret.json")
    places = [{"properties": {"a": {"$ref": reference}}}]
    if not reference.startswith("#"):  # a broken one that no answer can meet does no harm
        places.append({"$defs": {"a": {"$ref": reference}}})
    for place in places:
        async with agent(settings) as a:
            reply = await a.fails(
                "create_batch_file", **ORDER, response_schema={"type": "object", **place}
            )
        assert reply["error"]["code"] == "invalid_schema"
        assert words in reply["error"]["message"]
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": "((((a{1,1000}){1,1000}){1,1000}){1,1000})"}}},
        {"properties": {"a": {"type": "objekt"}}},
        {"properties": {"a": {"minimum": "1"}}},
        {"properties": {"a": json.loads('{"not":' * 400 + "{}" + "}" * 400)}},
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused_when_it_is_given(settings, reviews, schema):
    began = time.monotonic()
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file", **ORDER, response_schema=json.dumps({"type": "object", **schema})
        )
    assert reply["error"]["code"] == "invalid_schema"
    assert time.monotonic() - began < 20


async def test_the_server_answers_while_a_check_goes_on(finish, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_ANSWER_SECONDS", 1.0)
    stalled = 0.0

    async def beat():
        nonlocal stalled
        while True:
            before = time.monotonic()
            await anyio.sleep(0.02)
            stalled = max(stalled, time.monotonic() - before)

    (tmp_path / "t.csv").write_text("text\nrow\n")
    deep = '{"a":' * 24 + "{}" + "}" * 24
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await finish("t.csv", chat(deep), spec={"response_schema": BRANCHING})
        tasks.cancel_scope.cancel()
    assert stalled < 2


def test_a_job_with_a_schema_that_is_refused_today_still_gives_its_rows():
    checker = SchemaChecker({"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}})
    with pytest.raises(InvalidSchemaError):
        checker.open()
    problems = checker.problems([{"a": 1}, {}])
    assert [("cannot be used" in problem) for problem in problems] == [True, True]


def test_patterns_mean_what_they_meant():
    schema = {"properties": {"a": {"pattern": r"^(?!no)\w+(?<!x)$"}, "b": {"pattern": r"(.)\1"}}}
    checker = SchemaChecker(schema)
    try:
        good, bad = {"a": "yes", "b": "xx"}, {"a": "nope"}
        assert checker.problems([good, bad, {"b": "xy"}]) == [
            None,
            "a breaks 'pattern' of the schema",
            "b breaks 'pattern' of the schema",
        ]
    finally:
        checker.close()


NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
    },
    "required": ["name", "children"],
    "additionalProperties": False,
}


async def test_schemas_come_in_every_form_in_which_people_have_them(settings, reviews, work):
    plain = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    wrapped = {"name": "Review", "strict": False, "schema": plain}
    forms = {
        "plain": (plain, "answer", True),
        "wrapped": (wrapped, "Review", False),
        "the parameter of a chat": (
            {"type": "json_schema", "json_schema": wrapped},
            "Review",
            False,
        ),
        "that of a response": ({"type": "json_schema", **wrapped}, "Review", False),
        "a recursive model": ({"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}, "answer", True),
    }
    for name, (given, called, strict) in forms.items():
        async with agent(settings) as a:
            created = await a.calls("create_batch_file", **ORDER, response_schema=given)
        (part,) = (settings.home / "jobs" / created["job"]).glob("part-*.jsonl")
        body = json.loads(part.read_text().splitlines()[0])["body"]
        sent = body["response_format"]["json_schema"]
        assert (sent["name"], sent["strict"]) == (called, strict), name
        schema, form = unwrapped(given)
        assert sent["schema"] == schema
        assert (form.name, schema["type"]) == (called, "object")
    assert list(unwrapped(wrapped)[0]["properties"]) == ["b", "a"]
    recursive, _ = unwrapped(forms["a recursive model"][0])
    assert recursive == {**NODE, "$defs": {"Node": NODE}}


@pytest.mark.parametrize("raised", [ValueError("odd"), RecursionError(), MemoryError(), KeyError()])
def test_whatever_the_checker_raises_makes_that_answer_invalid(monkeypatch, raised):
    class Raising:
        def is_valid(self, value):
            if value == {}:
                raise raised
            return True

    monkeypatch.setattr(schema_child, "_validators", [Raising()])
    (reply,) = schema_child.handle({"do": "check", "answers": ["[]", "{}", "[]"]})
    before, wrong, after = reply["wrong"]
    assert (before, after) == (None, None)
    assert wrong.startswith("the answer ")
