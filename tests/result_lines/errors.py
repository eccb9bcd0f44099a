"""Lines that tell why there is no answer."""

import json

from result_lines.making import AZURE, REASON, body, choice, error, line

_QUOTED = 'no "why"'
"""A reason whose words do not stand like this in the JSON that holds them."""

CASES = {
    # Errors
    "OpenAI's error": error({"error": {"message": "why"}}, 400, cause="http_400", words="why"),
    "FastAPI's text": error({"detail": _QUOTED}, 400, cause="http_400", words=_QUOTED),
    "FastAPI's list": error(
        {"detail": [{"loc": ["body"], "msg": _QUOTED}]}, 422, cause="http_422", words=_QUOTED
    ),
    "Gemini's list": error([{"error": {"message": _QUOTED}}], 400, cause="http_400", words=_QUOTED),
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
    "a line too long to be read": error(
        {"code": "line_too_long", "message": "The result line has 70,000,000 bytes"},
        cause="line_too_long",
        words="70,000,000 bytes",
    ),
}
