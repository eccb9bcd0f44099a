"""Makes result lines, each with what it means."""

import base64
import json
import struct
from dataclasses import dataclass
from typing import Any

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


@dataclass(frozen=True)
class Case:
    """A line, and what it means.

    Attributes:
        line: with the custom_id `r1`, without a line break.
        outcome: as in the ledger.
        cause: the same; None for what is ok.
        answer: the text, the tool calls, or the embedding.
        words: what the message has to hold.
    """

    line: bytes
    outcome: str = "ok"
    cause: str | None = None
    answer: Any = None
    words: str = ""


def raw(text, **meaning):
    data = text.encode() if isinstance(text, str) else text
    return Case(data, **meaning)


def line(fields, **meaning):
    return raw(json.dumps({"id": "q1", "custom_id": "r1"} | fields), **meaning)


def body(content, **meaning):
    return line({"response": {"status_code": 200, "body": content}, "error": None}, **meaning)


def choice(message=None, finish="stop", **more):
    message = {"content": message} if isinstance(message, str) else message
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish} | more]}


def chat(message=None, finish="stop", *, more=None, **meaning):
    if isinstance(message, str):
        meaning.setdefault("answer", message)
    return body(choice(message, finish, **(more or {})) | {"usage": USAGE}, **meaning)


def call(arguments, name="f"):
    return {"content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def inside(text):
    """A good line whose body is this text, which not every parser takes for JSON."""
    return '{"custom_id":"r1","response":{"status_code":200,"body":' + text + '},"error":null}'


def content(text):
    return inside('{"choices":[{"message":{"content":' + text + '},"finish_reason":"stop"}]}')


def beside(fields):
    """A good line with these fields beside the answer."""
    return inside('{"choices":[{"message":{"content":"a"}}],' + fields + "}")


def error(fields, status=None, **meaning):
    response = None if status is None else {"status_code": status, "body": fields}
    named = {"error": fields} if status is None else {"error": None}
    return line({"response": response} | named, outcome=meaning.pop("outcome", "failed"), **meaning)


def vectors(*embeddings, **meaning):
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(embeddings)]
    return body({"object": "list", "data": data}, **meaning)


def base64_of(*numbers):
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def ends(word, outcome, cause):
    return chat("so far", word, outcome=outcome, cause=cause, words=word)


GOOD = choice("hi")
DEEP = "[" * 100_000 + "]" * 100_000
REASON = {"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": '{"detail":"why"}'}}
AZURE = {
    "error": {
        "code": "content_filter",
        "message": "The prompt was filtered",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}
CALL = [{"name": "f", "arguments": {"x": 1}}]
