"""Result lines as servers really write them, each with what it means.

The package and the skill's scripts read the same lines; both have to come to these outcomes.
"""

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
    """A good line whose body is this text, of what is no JSON for every parser."""
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
    data = [{"index": n, "embedding": one} for n, one in enumerate(embeddings)]
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

CASES = {
    "plain": chat("hé"),
    # What strict parsers refuse
    "half a pair": raw(content(r'"cut \ud83d"'), answer="cut \ufffd"),
    "a pair the wrong way round": raw(content(r'"\ude00\ud83d"'), answer="\ufffd\ufffd"),
    "a whole pair beside half of one": raw(content(r'"\ud83d\ude00 \ud83d"'), answer="😀 \ufffd"),
    "an escaped backslash before u": raw(content(r'"\\ud83d"'), answer="\\ud83d"),
    "half a pair where the limit cut": raw(
        content(r'"cut \ud83d"').replace('"stop"', '"length"'),
        outcome="truncated",
        cause="length",
        answer="cut \ufffd",
    ),
    "bytes that are not UTF-8": raw(
        content('"caf\0"').encode().replace(b"\0", b"\xe9"), answer="caf\ufffd"
    ),
    "a control character": raw(content('"a\tb"'), answer="a\tb"),
    "a byte order mark": raw(b"\xef\xbb\xbf" + content('"a"').encode(), answer="a"),
    "NaN beside the answer": raw(
        inside('{"choices":[{"message":{"content":"a"},"logprobs":{"x":NaN}}]}'), answer="a"
    ),
    "infinities in usage": raw(
        beside('"usage":{"prompt_tokens":-Infinity}'),
        answer="a",
    ),
    "usage of 2^63": raw(
        beside('"usage":{"prompt_tokens":9223372036854775808}'),
        answer="a",
    ),
    "usage of 5,000 digits": raw(
        beside('"usage":{"prompt_tokens":' + "9" * 5000 + "}"), answer="a"
    ),
    "a number beyond a float": raw(beside('"x":1e999'), answer="a"),
    "nested 100,000 deep beside the answer": raw(beside(f'"x":{DEEP}'), answer="a"),
    "nested 100,000 deep beside the response": raw(
        content('"a"').replace('"error"', f'"x":{DEEP},"error"'), answer="a"
    ),
    "a body nested 100,000 deep": raw(inside(DEEP), outcome="failed", cause="not_json"),
    # Fields of another type
    "status as text": line({"response": {"status_code": "200", "body": GOOD}}, answer="hi"),
    "a status that says nothing": line({"response": {"status_code": 0, "body": GOOD}}, answer="hi"),
    "status as a float": line({"response": {"status_code": 200.0, "body": GOOD}}, answer="hi"),
    "no status": line({"response": {"body": GOOD}}, answer="hi"),
    "an error status as text": error(
        {"error": {"message": "busy"}}, "429", cause="http_429", words="busy"
    ),
    "id as a number": line({"id": 7, "response": {"status_code": 200, "body": GOOD}}, answer="hi"),
    "error as a list of nothing": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": []}, answer="hi"
    ),
    "error as an object of nothing": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": {}}, answer="hi"
    ),
    "error as an empty text": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": ""}, answer="hi"
    ),
    "error with nulls": line(
        {
            "response": {"status_code": 200, "body": GOOD},
            "error": {"code": None, "message": None, "param": None},
        },
        answer="hi",
    ),
    "body as a JSON text": line(
        {"response": {"status_code": 200, "body": json.dumps(GOOD)}}, answer="hi"
    ),
    "body as a text": line(
        {"response": {"status_code": 200, "body": "Bad gateway"}},
        outcome="failed",
        cause="not_json",
        words="Bad gateway",
    ),
    "no envelope": line({"response": GOOD}, answer="hi"),
    "the body at the top": line({"body": GOOD}, answer="hi"),
    # Rows of Doubleword's /results
    "a completed row": line(
        {"status": "completed", "response_body": GOOD, "input_body": {}, "error": None}, answer="hi"
    ),
    "a failed row": line(
        {"status": "failed", "response_body": None, "error": json.dumps(REASON)},
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    # Content
    "pieces": chat({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, answer="ab"),
    "thoughts before the text": chat(
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]},
        answer="a",
    ),
    "an object as content": chat({"content": {"label": "good"}}, answer='{"label":"good"}'),
    "a spoken answer": chat({"content": None, "audio": {"transcript": "said"}}, answer="said"),
    "white space alone": chat(" \n\t", outcome="failed", cause="empty_answer", answer=None),
    "nothing": chat({"content": None}, outcome="failed", cause="empty_answer"),
    "no choice": body({"choices": []}, outcome="failed", cause="empty_answer"),
    "a refusal": chat(
        {"content": None, "refusal": "I will not"}, outcome="refused", cause="refusal", words="will"
    ),
    "completions": body({"choices": [{"text": "a", "finish_reason": "stop"}]}, answer="a"),
    "no known shape": body(
        {"verdict": "good"}, outcome="invalid", cause="unknown_body", answer='{"verdict":"good"}'
    ),
    # Tools
    "a tool call": chat(call('{"x":1}'), "tool_calls", answer=CALL),
    "a tool call without parameters": chat(call(""), answer=[{"name": "f", "arguments": {}}]),
    "the legacy function_call": chat(
        {"content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}},
        "function_call",
        answer=CALL,
    ),
    "arguments that are no JSON": chat(
        call('{"x":'),
        "tool_calls",
        outcome="invalid",
        cause="tool_arguments",
        answer=[{"name": "f", "arguments": '{"x":'}],
    ),
    # Ends
    "length": chat("so far", "length", outcome="truncated", cause="length"),
    "Anthropic's limit": ends("max_tokens", "truncated", "length"),
    "Gemini's limit": ends("MAX_TOKENS", "truncated", "length"),
    "Mistral's limit": ends("model_length", "truncated", "context_length"),
    "the filter": chat("so far", "content_filter", outcome="refused", cause="content_filter"),
    "Gemini's filter": ends("SAFETY", "refused", "content_filter"),
    "Zhipu's filter": ends("sensitive", "refused", "content_filter"),
    "an error": ends("error", "failed", "finish_error"),
    "vLLM's abort": ends("abort", "failed", "finish_abort"),
    "DeepSeek's lack of resources": ends(
        "insufficient_system_resource", "failed", "finish_insufficient_system_resource"
    ),
    "an unknown end": ends("comet_strike", "invalid", "finish_comet_strike"),
    "an end of sequence": chat("a", "eos_token"),
    "STOP": chat("a", "STOP"),
    "no end": chat("a", None),
    "an end as an object": chat("a", {"reason": "length"}, outcome="truncated", cause="length"),
    # Several answers
    "two choices": body(
        {"choices": [choice("b", index=1)["choices"][0], choice("a")["choices"][0]]}, answer="a"
    ),
    "two choices, one of them cut": body(
        {"choices": [choice("a")["choices"][0], choice("b", "length", index=1)["choices"][0]]},
        outcome="truncated",
        cause="length",
        answer="a",
        words="answer 2 of 2",
    ),
    # Responses
    "a response": body(
        {
            "object": "response",
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
            ],
            "usage": {"input_tokens": 3, "output_tokens": 2},
        },
        answer="a",
    ),
    "a response that was cut": body(
        {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"text": "cut"}]}],
        },
        outcome="truncated",
        cause="length",
        answer="cut",
    ),
    "a response that failed": body(
        {"status": "failed", "error": {"code": "server_error", "message": "boom"}, "output": []},
        outcome="failed",
        cause="error",
        words="boom",
    ),
    "a response of text alone": body({"output_text": "a"}, answer="a"),
    "a function call of a response": body(
        {"output": [{"type": "function_call", "name": "f", "arguments": '{"x":1}'}]}, answer=CALL
    ),
    "a refusal of a response": body(
        {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]},
        outcome="refused",
        cause="refusal",
    ),
    # Anthropic
    "a message": body(
        {
            "type": "message",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 2},
        },
        answer="a",
    ),
    "a message that was cut": body(
        {
            "type": "message",
            "content": [{"type": "text", "text": "a"}],
            "stop_reason": "max_tokens",
        },
        outcome="truncated",
        cause="length",
        answer="a",
    ),
    "a tool use": body(
        {
            "type": "message",
            "content": [{"type": "tool_use", "name": "f", "input": {"x": 1}}],
            "stop_reason": "tool_use",
        },
        answer=CALL,
    ),
    "Anthropic's own line": line(
        {
            "result": {
                "type": "succeeded",
                "message": {"type": "message", "content": [{"type": "text", "text": "a"}]},
            }
        },
        answer="a",
    ),
    "Anthropic's own error": line(
        {
            "result": {
                "type": "errored",
                "error": {"type": "error", "error": {"type": "invalid_request", "message": "no"}},
            }
        },
        outcome="failed",
        cause="error",
        words="no",
    ),
    "Anthropic's own expiry": line(
        {"result": {"type": "expired"}}, outcome="expired", cause="expired"
    ),
    # Gemini
    "a candidate": body(
        {
            "candidates": [
                {"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": "STOP"}
            ],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
        },
        answer="a",
    ),
    "a candidate that was cut": body(
        {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "MAX_TOKENS"}]},
        outcome="truncated",
        cause="length",
        answer="a",
    ),
    "a blocked prompt": body(
        {"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}},
        outcome="refused",
        cause="content_filter",
    ),
    "a blocked prompt without candidates": body(
        {"promptFeedback": {"blockReason": "SAFETY"}}, outcome="refused", cause="content_filter"
    ),
    "a function call of a candidate": body(
        {
            "candidates": [
                {"content": {"parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]}}
            ]
        },
        answer=CALL,
    ),
    # Embeddings
    "an embedding": vectors([0.5, 1], answer=[0.5, 1]),
    "an embedding in base64": vectors(base64_of(0.5, 0.25, 0.125), answer=[0.5, 0.25, 0.125]),
    "embeddings in base64": vectors(base64_of(0.5), base64_of(0.25), answer=[[0.5], [0.25]]),
    "an embedding that is none": vectors(
        "oops!", outcome="invalid", cause="embedding", answer="oops!"
    ),
    "an embedding of nothing": vectors([], outcome="failed", cause="empty_answer"),
    "no embedding": body({"data": []}, outcome="failed", cause="empty_answer"),
    # Errors
    "OpenAI's error": error({"error": {"message": "why"}}, 400, cause="http_400", words="why"),
    "FastAPI's text": error({"detail": "why"}, 400, cause="http_400", words="why"),
    "FastAPI's list": error(
        {"detail": [{"loc": ["body"], "msg": "why"}]}, 422, cause="http_422", words="why"
    ),
    "Gemini's list": error([{"error": {"message": "why"}}], 400, cause="http_400", words="why"),
    "a body of no known field": error({"why": "so"}, 400, cause="http_400", words='"why"'),
    "an error in a good response": body(
        {"error": {"message": "why"}}, outcome="failed", cause="error", words="why"
    ),
    "an error object of vLLM": body(
        {"object": "error", "message": "why", "code": 400},
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    "an error of a choice": body(
        choice("", "error", error={"code": 502, "message": "why"}),
        outcome="failed",
        cause="error",
        words="why",
    ),
    "a context that is too long": error(
        {"error": {"message": "maximum context length"}}, 400, cause="context_length"
    ),
    "Azure's filter": error(
        AZURE, 400, outcome="refused", cause="content_filter", words="The prompt was filtered"
    ),
    "Azure's filter as an error line": error(
        AZURE["error"], outcome="refused", cause="content_filter", words="filtered"
    ),
    "a filter behind Doubleword": error(
        {
            "message": json.dumps(
                {"type": "X", "details": {"status": 400, "body": json.dumps(AZURE)}}
            )
        },
        outcome="refused",
        cause="content_filter",
    ),
    "Doubleword's reason": error({"message": json.dumps(REASON)}, cause="http_400", words="why"),
    "a timeout": error(
        {"message": '{"type":"Timeout","details":{"error":"slow"}}'}, cause="timeout", words="slow"
    ),
    "a reason without details": error({"message": '{"type":"TaskTerminated"}'}, cause="terminated"),
    "expired": error(
        {"code": "batch_expired", "message": "late"},
        outcome="expired",
        cause="expired",
        words="late",
    ),
    "cancelled": error(
        {"code": "batch_cancelled", "message": ""}, outcome="cancelled", cause="cancelled"
    ),
    "an error as a text": error("plain words", cause="error", words="plain words"),
    "an error as a list": error([{"message": "why"}], cause="error", words="why"),
    "an error's number": error({"code": 429, "message": "busy"}, cause="http_429", words="busy"),
    "an error's name": error({"code": "Odd Code!", "message": "x"}, cause="odd_code", words="x"),
    "nothing at all": line({}, outcome="failed", cause="no_response"),
    "an empty response": line({"response": {}}, outcome="failed", cause="no_response"),
}
"""By name. Every line is of the row `r1`."""

NO_RESULT_LINES = (
    b"",
    b" ",
    b"{",
    b"[1]",
    b"7",
    b"\xff",
    b"null",
    b'{"custom_id":null}',
    b'{"custom_id":"r1"',
    b'{"id":"r1"}',
    b"[" * 100_000,
)
"""Lines that are nobody's: cut, no JSON, or without a custom_id."""
