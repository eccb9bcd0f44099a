"""Further forms of what servers write: the same kinds of oddity, in other places."""

import base64
import json

from result_lines.making import (
    CALL,
    DEEP,
    GOOD,
    base64_of,
    beside,
    body,
    call,
    chat,
    choice,
    ends,
    error,
    inside,
    line,
    raw,
    vectors,
)

_TRANSCRIPT = {"content": "", "audio": {"id": "a", "transcript": "said"}}

CASES = {
    # What strict parsers refuse
    "half a pair in an error": raw(
        '{"custom_id":"r1","response":{"status_code":400,'
        '"body":{"error":{"message":"why \\ud83d"}}}}',
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    "half a pair in a body that is a text": line(
        {"response": {"status_code": 200, "body": json.dumps(choice("cut \ud83d"))}},
        answer="cut \ufffd",
    ),
    "half a pair in a tool's arguments": chat(
        call('{"x":"\\ud83d"}'), answer=[{"name": "f", "arguments": {"x": "\ufffd"}}]
    ),
    "half a pair in the name of a field": raw(beside('"\\udc00":1'), answer="a"),
    "NaN as an index": raw(
        inside('{"choices":[{"index":NaN,"message":{"content":"a"}}]}'), answer="a"
    ),
    "an infinite time": raw(beside('"created":Infinity'), answer="a"),
    "a time of 2^64": raw(beside('"created":18446744073709551616'), answer="a"),
    "usage below nothing": raw(beside('"usage":{"prompt_tokens":-5}'), answer="a"),
    "usage as texts": raw(beside('"usage":{"prompt_tokens":"3"}'), answer="a"),
    "usage as a list": raw(beside('"usage":[3,2]'), answer="a"),
    "nested 100,000 deep in usage": raw(beside(f'"usage":{DEEP}'), answer="a"),
    "nested 100,000 deep in an error": raw(
        '{"custom_id":"r1","response":null,"error":{"code":429,"message":"why","x":' + DEEP + "}}",
        outcome="failed",
        cause="http_429",
    ),
    # Fields of another type
    "id as a list": line({"id": [7], "response": {"status_code": 200, "body": GOOD}}, answer="hi"),
    "id as null": line({"id": None, "response": {"status_code": 200, "body": GOOD}}, answer="hi"),
    "error as false": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": False}, answer="hi"
    ),
    "status as null": line(
        {"response": {"status_code": None, "body": GOOD}, "error": None}, answer="hi"
    ),
    "an error's body as a JSON text": line(
        {"response": {"status_code": 400, "body": json.dumps({"error": {"message": "why"}})}},
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    "status 201": line({"response": {"status_code": 201, "body": GOOD}}, answer="hi"),
    "request_id as a number": line(
        {"response": {"status_code": 200, "request_id": 7, "body": GOOD}}, answer="hi"
    ),
    # Ends
    "a limit in capitals": ends("LENGTH", "truncated", "length"),
    "a limit of Responses": ends("max_output_tokens", "truncated", "length"),
    "Gemini's recitation": ends("RECITATION", "refused", "content_filter"),
    "a filter with a hyphen": ends("content-filter", "refused", "content_filter"),
    "an end as a number": chat("a", 7, outcome="invalid", cause="finish_7", answer="a"),
    "an end of nothing": chat("a", "", answer="a"),
    # White space
    "spaces of other scripts alone": chat(
        "\u3000\u00a0\u2003", outcome="failed", cause="empty_answer"
    ),
    "pieces of white space": chat(
        {"content": [{"type": "text", "text": " "}, {"type": "text", "text": "\n"}]},
        outcome="failed",
        cause="empty_answer",
    ),
    # Tools
    "arguments as null": chat(call(None), answer=[{"name": "f", "arguments": None}]),
    "a function_call whose arguments are not JSON": chat(
        {"content": None, "function_call": {"name": "f", "arguments": "{x"}},
        "function_call",
        outcome="invalid",
        cause="tool_arguments",
        answer=[{"name": "f", "arguments": "{x"}],
    ),
    "arguments as an object": chat(call({"x": 1}), answer=CALL),
    # Error bodies
    "a message alone": error({"message": "why"}, 400, cause="http_400", words="why"),
    "a list of errors": error({"errors": [{"message": "why"}]}, 400, cause="http_400", words="why"),
    "a detail inside an error": error(
        {"error": {"detail": "why"}}, 400, cause="http_400", words="why"
    ),
    "an error inside a detail": error(
        {"detail": {"error": "why"}}, 400, cause="http_400", words="why"
    ),
    "a list of texts as detail": error({"detail": ["why"]}, 422, cause="http_422", words="why"),
    # Embeddings
    "an embedding in base64 with line breaks": vectors(
        base64.encodebytes(base64.b64decode(base64_of(*[0.5] * 40))).decode(), answer=[0.5] * 40
    ),
    "an embedding in base64 of an odd length": vectors(
        base64.b64encode(b"12345").decode(),
        outcome="invalid",
        cause="embedding",
        answer=base64.b64encode(b"12345").decode(),
    ),
    # Others
    "a spoken answer beside an empty text": chat(_TRANSCRIPT, answer="said"),
    "output_text of a response that was cut": body(
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        | {"output_text": "so far"},
        outcome="truncated",
        cause="length",
        answer="so far",
    ),
}
