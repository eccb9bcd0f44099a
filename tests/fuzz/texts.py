"""Texts that servers, models and people write: result lines, JSON, templates, request lines."""

import json
from contextlib import contextmanager

import msgspec

from doubleword_batch import loose_json
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.sync.parse import answer_in, parse_line, parse_lines
from doubleword_batch.provider_errors import read_error_body, read_failure_reason
from doubleword_batch.providers import profile
from doubleword_batch.requests.template import Template
from doubleword_batch.requests.token_bounds import bound_body
from doubleword_batch.requests.validate import validate_request_file
from fuzz.inputs import any_of, damaged, encoded, grafted, one_of, together, values
from fuzz.tables import assert_said_well, suppress_said
from result_lines import CASES
from skill.places import script_module

WORDS = [
    "choices", "message", "content", "finish_reason", "index", "text", "tool_calls", "function",
    "name", "arguments", "refusal", "usage", "prompt_tokens", "completion_tokens", "response",
    "status_code", "body", "error", "code", "details", "type", "result", "candidates", "parts",
    "output", "output_text", "data", "embedding", "custom_id", "id", "status", "incomplete_details",
    "reason", "succeeded", "errored", "stop", "length", "batch_expired", "logprobs", "audio",
]  # fmt: skip
OUTCOMES = {
    "pending", "ok", "invalid", "truncated", "refused", "failed", "expired", "cancelled", "missing",
}  # fmt: skip


def skill():
    """The readers of the skill's scripts, which share no code with the package's."""
    return tuple(map(script_module, ("answers", "loose_json", "provider_errors")))


def parsed_cases():
    read = (loose_json.decode_or_none(case.line) for case in CASES.values())
    return [value for value in read if value is not None]


@contextmanager
def result_lines(_folder):
    answers, _, _ = skill()
    lines = [case.line for case in CASES.values()]
    written = encoded(grafted(parsed_cases(), WORDS))

    def check(line):
        ours, theirs = parse_line(line), answers.read_line(line)
        assert (ours is None) == (theirs is None), (ours, theirs)
        if ours is None:
            return
        assert ours.outcome in OUTCOMES, ours
        assert (ours.custom_id, ours.outcome, ours.cause or "") == (
            theirs.custom_id, theirs.outcome, theirs.cause or "",
        ), (ours, theirs)  # fmt: skip
        assert parse_lines([line], None) == [ours]
        msgspec.json.encode(ours).decode()
        answer = answer_in(line)
        if answer is not None:
            msgspec.json.encode(answer).decode()

    yield one_of(damaged(lines, [word.encode() for word in WORDS]), written), check


@contextmanager
def loose(_folder):
    _, theirs, _ = skill()
    samples = [json.dumps(value).encode() for value in parsed_cases()]
    samples += [b'{"a": NaN, "b": "\\ud800"}', b"[" * 150 + b"]" * 150, b'"\xff\x00"', b"1e999"]

    def check(data):
        try:
            value = loose_json.decode(data)
        except ValueError:
            value = ValueError
        else:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        try:
            other = theirs.decode(data)
        except ValueError:
            other = ValueError
        assert value is ValueError if other is ValueError else _same(value, other), (value, other)

    yield damaged(samples), check


def _same(value, other):
    return json.dumps(value, sort_keys=False) == json.dumps(other, sort_keys=False)


@contextmanager
def error_bodies(_folder):
    _, _, theirs = skill()
    bodies = [
        b'{"error": {"message": "no", "type": "x", "code": 7, "retry_after_seconds": 3}}',
        b'{"detail": [{"loc": ["body", 0], "msg": "field required"}]}',
        b'{"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": "{}"}}',
        b"<html>no</html>", b"", b"null",
    ]  # fmt: skip
    words = [*WORDS, "detail", "msg", "loc", "retry_after_seconds", "errors", "message"]
    written = grafted([json.loads(body) for body in bodies[:3]], words)

    def check(body):
        read = read_error_body(body)
        assert read.message == theirs.read_error_body(body).message
        read.message.encode()
        wait = read.retry_after_seconds
        assert wait is None or 0 <= wait < float("inf"), wait
        text = body.decode("utf-8", "replace")
        assert (read_failure_reason(text) is None) == (theirs.read_failure_reason(text) is None)

    yield one_of(damaged(bodies), encoded(written)), check


@contextmanager
def templates(_folder):
    columns = ["text", "order id", "id", "row", "größe", "__class__"]
    pieces = [
        *columns, "{{", "}}", "{%", "%}", "{#", "#}", " ", "text", "{{ text }}", "{{ order id }}",
        "| upper", "| tojson", "|map('upper')", "if", "for x in row", "endfor", "endif", "row[",
        "]",
        "'", '"', "%", "%s", "range(10**9)", "* 10**9", "('a' * 9999999)", "|join", ".format(", "(",
        ")", "set a =", "macro f()", "endmacro", "loop.index", "[0]", "**", "//0", "\n", "\\",
        "raw",
        "endraw", "include 'x'", "import os", "namespace()", "cycler(1)", "|batch(2)", "|attr('x')",
        "|groupby('x')", "|center(10**9)", "|indent(10**8)", "|wordwrap(1)", "|format(1)", "~",
        "is",
        "|replace('', text)", "|xmlattr", "|pprint", "|random", "|sum", "|slice(0)", "self",
        "varargs",
    ]  # fmt: skip
    value = values(["a", "b"])

    def rows(chance):
        return {name: value(chance) for name in columns if name != "id"}

    def written(chance):
        return "".join(chance.choice(pieces) for _ in range(chance.randint(1, 14)))

    def check(fed):
        text, row = fed
        with suppress_said():
            template = Template(text, columns, max_characters=50_000)
            assert len(template.render(row)) <= 50_000 + 200

    yield together(written, rows), check


REQUEST = {
    "custom_id": "r1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "n": 1},
}
REQUEST_WORDS = [
    "custom_id", "method", "url", "body", "model", "messages", "max_tokens", "n", "best_of",
    "tools",
    "max_completion_tokens", "input", "prompt", "stream", "response_format", "image_url",
    "thinking",
]  # fmt: skip


@contextmanager
def request_files(folder):
    path = folder / "requests.jsonl"
    line = json.dumps(REQUEST).encode() + b"\n"
    written = encoded(grafted([REQUEST], REQUEST_WORDS))

    def check(data):
        path.write_bytes(data)
        with suppress_said():
            report = validate_request_file(path, profile("doubleword"))
            repr(report).encode()

    words = [word.encode() for word in REQUEST_WORDS]
    yield one_of(damaged([line, line * 3], words), written), check


@contextmanager
def spending(_folder):
    """Under a cap every body has a bound, or is refused in words; the bound is never below zero."""
    body = REQUEST["body"]
    written = encoded(grafted([body], REQUEST_WORDS))
    words = [word.encode() for word in REQUEST_WORDS]
    bodies = one_of(damaged([json.dumps(body).encode()], words), written)

    def check(fed):
        data, endpoint = fed
        try:
            bound = bound_body(data, endpoint)
        except InputError as refused:
            assert_said_well(refused)
            return
        assert bound.input_tokens >= 0
        assert bound.output_tokens >= 0
        try:
            asked = json.loads(data)
        except ValueError:
            raise AssertionError("a body that is no JSON has a bound") from None
        if isinstance(asked.get("max_tokens"), int) and "max_completion_tokens" not in asked:
            times = asked.get("n") or 1
            assert bound.output_tokens >= asked["max_tokens"] * times, bound

    yield together(bodies, any_of(["/v1/chat/completions", "/v1/embeddings"])), check


TARGETS = {
    "result_lines": result_lines,
    "loose_json": loose,
    "error_bodies": error_bodies,
    "templates": templates,
    "request_files": request_files,
    "spending": spending,
}
