"""A line means the same whether it is read the short way or the long one, and what it says."""

import json
from contextlib import closing

import msgspec
import pytest

from doubleword_batch.jobs.store.records import ANSWERED
from doubleword_batch.jobs.sync import parse
from doubleword_batch.jobs.sync.parse import answer_in, parse_line, text_or_answer_in
from doubleword_batch.jobs.sync.response import response_in
from doubleword_batch.jobs.sync.schema_check import schema_check
from result_lines import CASES, NO_RESULT_LINES
from result_lines.elsewhere import WAITING
from result_lines.structured import EVERY_SCHEMA, GOOD, LABEL, TEXTS, line_of


@pytest.mark.parametrize("name", CASES)
def test_a_line_of_any_server_is_called_what_it_is(name):
    case = CASES[name]
    reading = parse_line(case.line)
    assert (reading.custom_id, reading.outcome, reading.cause) == ("r1", case.outcome, case.cause)
    assert case.words in (reading.message or "")
    if case.outcome in ANSWERED:
        answer = answer_in(case.line)
        text = answer and answer.text
        found = answer and (answer.tool_calls or answer.embedding) if text is None else text
        assert found == case.answer


@pytest.mark.parametrize("name", CASES)
def test_the_short_way_and_the_long_one_agree(monkeypatch, name):
    data = CASES[name].line
    short = parse_line(data), answer_in(data)
    text = text_or_answer_in(data)
    monkeypatch.setattr(parse, "plain_line", lambda _: None)
    assert (parse_line(data), answer_in(data)) == short
    in_full = text_or_answer_in(data)
    assert in_full == short[1]
    assert text in (in_full, in_full and in_full.text)


@pytest.mark.parametrize("data", WAITING)
def test_a_request_that_waits_has_no_outcome_yet(data):
    assert parse_line(data).outcome == "pending"


def test_a_plain_line_takes_the_short_way():
    assert parse.plain_line(CASES["plain"].line) is not None
    assert parse_line(CASES["plain"].line).output_tokens == 2
    assert text_or_answer_in(CASES["plain"].line) == CASES["plain"].answer


@pytest.mark.parametrize("data", NO_RESULT_LINES, ids=range(len(NO_RESULT_LINES)))
def test_a_line_that_is_none_is_none(data):
    assert parse_line(data) is None


@pytest.mark.parametrize("name", CASES)
def test_the_response_for_a_single_caller_is_json_that_every_parser_takes(name):
    response = response_in(CASES[name].line)
    if response is not None and response.status < 400:
        assert 200 <= response.status < 600
        json.loads(response.body, parse_constant=pytest.fail)


@pytest.mark.parametrize("error", ["why", {"code": 429, "message": "why"}])
def test_a_single_caller_gets_the_answer_that_stands_beside_an_error(error):
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    line = {"custom_id": "r1", "response": {"body": body}, "error": error}
    response = response_in(json.dumps(line).encode())
    assert (response.status, json.loads(response.body)) == (200, body)


def test_a_row_of_results_that_has_not_run_is_pending():
    for status in ("pending", "in_progress"):
        fields = {"custom_id": "r1", "status": status, "response_body": None, "error": None}
        assert parse_line(json.dumps(fields).encode()).outcome == "pending"


def chat(content, **message):
    choice = {"message": {"content": content} | message, "finish_reason": "stop"}
    response = {"status_code": 200, "body": {"choices": [choice]}}
    return json.dumps({"custom_id": "r1", "response": response}).encode()


def reading_of(line, *, is_strict=False):
    reading = checked(line, LABEL, is_strict=is_strict)
    return reading.outcome, reading.cause


def checked(line, schema, *, is_strict=False):
    """The line read with a check of the schema, whose process ends with it."""
    spec = msgspec.json.encode({"response_schema": schema}).decode()
    with closing(schema_check(spec, is_strict=is_strict)) as check:
        return parse_line(line, check)


@pytest.mark.parametrize("name", TEXTS)
def test_json_in_a_fence_or_behind_thoughts_is_read_where_it_fits_and_said(name):
    text, outcome, cause = TEXTS[name]
    assert reading_of(chat(text)) == (outcome, cause)


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_takes_only_json_that_stands_alone(name):
    text, outcome, cause = TEXTS[name]
    strict = "invalid" if cause in {"fenced", "think_prefix"} else outcome
    assert reading_of(chat(text), is_strict=True) == (strict, cause)


@pytest.mark.parametrize(("schema", "answer", "outcome", "message"), EVERY_SCHEMA)
def test_an_answer_is_held_against_the_whole_schema(schema, answer, outcome, message):
    spec = msgspec.json.encode({"response_schema": schema}).decode()
    check = schema_check(spec)
    reading = parse_line(line_of(answer), check)
    check.close()
    assert (reading.outcome, reading.message or "") == (outcome, message)


def test_a_tool_call_where_a_schema_was_asked_for_is_not_ok():
    call = [{"function": {"name": "f", "arguments": "{}"}}]
    assert reading_of(chat(None, tool_calls=call)) == ("invalid", "tool_call")
    assert reading_of(chat(GOOD, tool_calls=call)) == ("ok", None)


def test_a_schema_that_fails_on_an_answer_ends_nothing():
    tree = {"type": "object", "properties": {"of": {"$ref": "#"}}}
    deep = '{"of":' * 90 + "{}" + "}" * 90
    assert checked(chat(deep), tree).outcome in {"ok", "invalid"}
    odd = {"properties": {"x": {"multipleOf": 0.01}}}
    assert checked(chat('{"x":1e308}'), odd).outcome in {"ok", "invalid"}
