"""A line means the same whether it is read the short way or the long one."""

import json

import pytest

from doubleword_batch.jobs.sync import parse
from doubleword_batch.jobs.sync.parse import answer_in, read_line

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def line(*, message=None, body=None, **fields):
    message = {"role": "assistant", "content": "hé", "refusal": None} | (message or {})
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": USAGE} | (body or {})
    response = {"status_code": 200, "body": body}
    return json.dumps({"id": "q", "custom_id": "r1", "response": response, "error": None} | fields)


LINES = {
    "plain": line(),
    "no usage": line(body={"usage": None}),
    "odd usage": line(body={"usage": {"prompt_tokens": -1, "completion_tokens": "2"}}),
    "empty": line(message={"content": ""}),
    "null": line(message={"content": None}),
    "pieces": line(message={"content": [{"type": "text", "text": "a"}]}),
    "refusal": line(message={"refusal": "no"}),
    "tools": line(message={"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
    "no tools": line(message={"tool_calls": []}),
    "no choices": line(body={"choices": []}),
    "error inside": line(body={"error": {"message": "boom"}, "choices": []}),
    "error beside": line(error={"code": "x", "message": "boom"}),
    "blank error": line(error={"code": None, "message": None}),
    "created": line(response={"status_code": 201, "body": {"choices": [], "output": []}}),
    "refused": line(response={"status_code": 429, "body": {"error": "slow down"}}),
    "embedding": line(response={"status_code": 200, "body": {"data": [{"embedding": [1.0]}]}}),
    "length": line(body={"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}),
}


@pytest.mark.parametrize("name", LINES)
def test_the_short_way_and_the_long_one_agree(monkeypatch, name):
    data = LINES[name].encode()
    short = read_line(data), answer_in(data)
    monkeypatch.setattr(parse, "plain_line", lambda _: None)
    assert (read_line(data), answer_in(data)) == short


def test_a_plain_line_takes_the_short_way():
    plain = parse.plain_line(LINES["plain"].encode())
    assert plain is not None
    assert read_line(LINES["plain"].encode()).output_tokens == 2
    assert [name for name in LINES if parse.plain_line(LINES[name].encode())] == ["plain"]


def test_a_line_that_is_none_is_none():
    for data in (b"", b"{", b"[1]", b'{"custom_id":7}', b'{"custom_id":"\xff"}'):
        assert read_line(data) is None


WORDS = "too long by 12"
ERROR_BODIES = {
    "OpenAI's object": {"error": {"message": WORDS}},
    "a text": {"error": WORDS},
    "FastAPI's text": {"detail": WORDS},
    "FastAPI's list": {"detail": [{"loc": ["body"], "msg": WORDS, "type": "value_error"}]},
    "Gemini's list": [{"error": {"message": WORDS}}],
    "no known field": {"why": WORDS},
    "JSON text": json.dumps({"detail": WORDS}),
}


@pytest.mark.parametrize("name", ERROR_BODIES)
def test_the_reason_is_kept_whatever_the_error_body_looks_like(name):
    rejected = line(response={"status_code": 422, "body": ERROR_BODIES[name]})
    reading = read_line(rejected.encode())
    assert (reading.outcome, reading.cause) == ("failed", "http_422")
    assert WORDS in reading.message


@pytest.mark.parametrize("name", ERROR_BODIES)
def test_the_reason_is_kept_where_doubleword_puts_the_model_server_s_body(name):
    body = json.dumps(ERROR_BODIES[name])
    reason = {"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": body}}
    failed = line(response=None, error={"code": None, "message": json.dumps(reason)})
    reading = read_line(failed.encode())
    assert (reading.outcome, reading.cause) == ("failed", "http_400")
    assert WORDS in reading.message


def test_an_error_body_of_nothing_has_a_cause_and_no_message():
    reading = read_line(line(response={"status_code": 500, "body": None}).encode())
    assert (reading.cause, reading.message) == ("http_500", None)
