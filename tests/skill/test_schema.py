"""Structured answers: the scripts call them what the package calls them, or say what they leave."""

import json
import random

import msgspec
import pytest

from doubleword_batch.isolated import schema_child
from doubleword_batch.jobs.sync.parse import parse_line
from doubleword_batch.jobs.sync.schema_check import schema_check
from result_lines.structured import BEYOND_SCRIPTS, EVERY_SCHEMA, LABEL, TEXTS, line_of
from skill.places import script_module

read_by_script = script_module("answers").read_line
Checker = script_module("schema").Checker
Ledger = script_module("ledger").Ledger
SchemaCheck = script_module("schema_check").SchemaCheck

PATTERNS = ["^a", "b$", "^[a-z]+$", r"^\d{4}-\d{2}-\d{2}$", "^(a|b)", "[0-9]"]
TYPES = ["object", "array", "string", "number", "integer", "boolean", "null", ["string", "null"]]
TEXTS_TRIED = ["", "a", "ab", "abc", "b1", "é", "a\n"]
SCALARS = [None, True, False, 0, 1, 2, -1, 1.0, 1.5, 0.3, 1e20, *TEXTS_TRIED]
SCHEMAS_TRIED, ANSWERS_EACH = 600, 6


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_json_in_a_fence_or_behind_thoughts_is_what_the_package_calls_it(
    name, is_strict, tmp_path, monkeypatch
):
    text, outcome, cause = TEXTS[name]
    line = line_of(text)
    monkeypatch.setenv("DOUBLEWORD_BATCH_STRICT_JSON", str(int(is_strict)))
    (tmp_path / "out.jsonl").write_bytes(line + b"\n")
    (reading,) = Ledger([tmp_path / "out.jsonl"], LABEL).readings(["r1"])
    spec = msgspec.json.encode({"response_schema": LABEL}).decode()
    check = schema_check(spec, is_strict=is_strict)
    theirs = parse_line(line, check)
    check.close()
    if is_strict and cause in {"fenced", "think_prefix"}:
        outcome = "invalid"
    assert (reading.outcome, theirs.outcome) == (outcome, outcome)
    if outcome != "ok":
        assert (reading.cause, reading.message) == (theirs.cause, theirs.message)


@pytest.mark.parametrize(("schema", "answer", "outcome", "message"), EVERY_SCHEMA)
def test_an_answer_is_held_against_the_whole_schema(schema, answer, outcome, message):
    reading = SchemaCheck(schema).judged(read_by_script(line_of(answer)))
    assert (reading.outcome, reading.message, reading.unchecked) == (outcome, message, ())


def test_schemas_and_answers_of_any_kind_are_judged_as_the_package_judges_them():
    dice = random.Random(7)
    tried = wholly_checked = 0
    for _ in range(SCHEMAS_TRIED):
        schema = {**any_schema(dice), "$defs": {"x": any_schema(dice, 2)}}
        (opened,) = schema_child.handle({"do": "open", "schema": json.dumps(schema)})
        if opened["invalid"]:
            continue
        answers = [any_value(dice) for _ in range(ANSWERS_EACH)]
        asked = {"do": "check", "answers": [json.dumps(answer) for answer in answers]}
        found = [wrong for frame in schema_child.handle(asked) for wrong in frame["wrong"]]
        checker = Checker(schema)
        for answer, wrong in zip(answers, found, strict=True):
            ours = checker.fault(answer)
            tried += 1
            if ours is None and wrong is not None:
                assert checker.unchecked, (schema, answer, wrong)
            else:
                assert (ours is None) == (wrong is None), (schema, answer, wrong, ours)
                wholly_checked += 1
    assert tried > 3_000
    assert wholly_checked / tried > 0.99


@pytest.mark.parametrize("name", BEYOND_SCRIPTS)
def test_what_a_script_cannot_check_it_names(run, work, name):
    schema, answer = BEYOND_SCRIPTS[name]
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": asked}
    request = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (work / "requests.jsonl").write_text(json.dumps(request) + "\n")
    (work / "results.jsonl").write_bytes(line_of(answer) + b"\n")
    done = run("summarize_results.py", "results.jsonl", "--requests", "requests.jsonl")
    assert done.out.startswith("1 requests: 1 ok\n")
    assert f"1 of the ok answers were not checked against «{name}» of the schema" in done.out


@pytest.mark.parametrize(
    "schema", [{"properties": 7}, {"enum": None}, {"items": {"minimum": "x"}}, {"multipleOf": "a"}]
)
def test_a_schema_that_is_none_ends_nothing(schema):
    for answer in ({"a": 1}, [1], 1, "x"):
        checker = Checker(schema)
        assert checker.fault(answer) is None or checker.unchecked == set()


def any_value(dice, depth=0):
    kind = dice.random()
    if depth < 3 and kind < 0.3:
        return {dice.choice("abcd"): any_value(dice, depth + 1) for _ in range(dice.randint(0, 3))}
    if depth < 3 and kind < 0.45:
        return [any_value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
    return dice.choice(SCALARS)


def any_schema(dice, depth=0):
    """A schema of up to all keywords, most of them rare, that few values fit."""
    if dice.random() < 0.05:
        return dice.choice([{"not": {}}, {}]) if depth == 0 else dice.choice([True, False, {}])
    fixed = {
        "type": (0.6, lambda: dice.choice(TYPES)),
        "enum": (0.1, lambda: [any_value(dice, 2) for _ in range(3)]),
        "const": (0.05, lambda: any_value(dice, 2)),
        "multipleOf": (0.08, lambda: dice.choice([1, 2, 0.1, 0.5])),
        "pattern": (0.08, lambda: dice.choice(PATTERNS)),
        "uniqueItems": (0.06, lambda: True),
        "required": (0.2, lambda: list({dice.choice("abcd") for _ in range(2)})),
        "dependentRequired": (0.05, lambda: {"a": ["b"]}),
        "$ref": (0.05, lambda: "#/$defs/x"),
        "unevaluatedProperties": (0.02, lambda: False),
    }
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        fixed[name] = (0.08, lambda: dice.choice([0, 1, 2, 1.5, -1]))
    for end in ("Length", "Items", "Properties"):
        fixed[f"min{end}"] = fixed[f"max{end}"] = (0.06, lambda: dice.randint(0, 3))

    def inner():
        return any_schema(dice, depth + 1)

    nested = {
        "properties": (0.5, lambda: {dice.choice("abcd"): inner() for _ in range(3)}),
        "additionalProperties": (0.3, lambda: dice.choice([False, False, True, inner()])),
        "items": (0.2, inner),
        "prefixItems": (0.1, lambda: [inner()]),
        "contains": (0.05, inner),
        "propertyNames": (0.05, lambda: {"maxLength": 1, "pattern": "^[ab]$"}),
        "patternProperties": (0.05, lambda: {dice.choice(PATTERNS): inner()}),
        "anyOf": (0.08, lambda: [inner(), inner()]),
        "oneOf": (0.08, lambda: [inner(), inner()]),
        "allOf": (0.08, lambda: [inner()]),
        "not": (0.05, inner),
        "if": (0.06, inner),
        "then": (0.06, inner),
        "else": (0.06, inner),
    }
    keywords = fixed | (nested if depth < 3 else {})
    return {name: make() for name, (share, make) in keywords.items() if dice.random() < share}
