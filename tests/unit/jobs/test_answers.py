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
