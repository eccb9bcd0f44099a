"""What stands elsewhere than usual, or is spelled as in other languages."""

import json

from result_lines.making import GOOD, body, call, chat, choice, error, inside, line, raw

_CUT = {"outcome": "truncated", "cause": "length", "answer": "so far"}
_NONE = {"outcome": "failed", "cause": "empty_answer"}
_REASON = {"type": "RetriableHttpStatus", "details": {"status": "503", "body": '{"detail":"why"}'}}


def _ended(**ends):
    return body({"choices": [{"message": {"content": "so far"}} | ends]}, **_CUT)


def _relaxed(fields, **meaning):
    return raw('{"custom_id":"r1","response":{"status_code":200,"body":' + fields + "}}", **meaning)


def _answers(*messages, **meaning):
    choices = [
        {"index": n, "message": {"content": text}, "finish_reason": "stop"}
        for n, text in enumerate(messages)
    ]
    return body({"choices": choices}, **meaning)


CASES = {
    # JSON of relaxed parsers
    "JSON as Python prints it": raw(
        '{"custom_id":"r1",'
        + str({"response": {"status_code": 200, "body": GOOD}, "error": None})[1:],
        answer="hi",
    ),
    "a body as Python prints it": body(str(choice('it\'s "so"')), answer='it\'s "so"'),
    "commas behind the last element": _relaxed(
        '{"choices":[{"message":{"content":"a,}"},},],}', answer="a,}"
    ),
    "a comment": _relaxed(
        '/* a "b" */ {"choices":[{"message":{"content":"// a"}}]}', answer="// a"
    ),
    "names without quotes": _relaxed('{choices:[{message:{content:"a: b"}}]}', answer="a: b"),
    "nothing in other languages": raw(
        inside('{"choices":[{"message":{"content":"a"},"x":nan,"y":-inf,"z":undefined}]}'),
        answer="a",
    ),
    "an escape that JSON lacks": raw(
        inside(r'{"choices":[{"message":{"content":"it\'s \x41"}}]}'), answer="it's A"
    ),
    "numbers that JSON lacks": _relaxed(
        '{"choices":[{"message":{"content":"a"}}],"x":+1,"y":.5,"z":[1.,007,0x1F]}', answer="a"
    ),
    # The envelope
    "names in Pascal's case": raw(
        json.dumps({"CustomId": "r1", "Response": {"StatusCode": 200, "Body": GOOD}}), answer="hi"
    ),
    "names with hyphens": raw(
        json.dumps({"custom-id": "r1", "response": {"status-code": 500, "body": "why"}}),
        outcome="failed",
        cause="http_500",
        words="why",
    ),
    "a row of results that was cancelled": line(
        {"response_body": None, "error": None, "status": "canceled"},
        outcome="cancelled",
        cause="cancelled",
    ),
    # Errors
    "no error, in words": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": "No error"}, answer="hi"
    ),
    "the code of a success": line(
        {"response": {"body": GOOD}, "error": {"code": "SUCCESS", "message": "request done"}},
        answer="hi",
    ),
    "errors in place of an error": line(
        {"response": None, "errors": [{"message": "why"}]},
        outcome="failed",
        cause="error",
        words="why",
    ),
    "a status for an error": error(503, cause="http_503", words="503"),
    "a reason that is no text": error({"message": _REASON}, cause="http_503", words="why"),
    "a reason whose status is text": error(
        {"message": json.dumps(_REASON)}, cause="http_503", words="why"
    ),
    **{
        f"the end of a batch as {code}": error(
            {"code": code, "message": "why"}, outcome=ending, cause=ending, words="why"
        )
        for code, ending in (
            ("BatchCancelled", "cancelled"),
            ("batch-expired", "expired"),
            ("request_cancelled", "cancelled"),
        )
    },
    # Ends
    "an end in camel's case": _ended(finishReason="length"),
    "an end in the message": body(
        {"choices": [{"message": {"content": "so far", "finish_reason": "length"}}]}, **_CUT
    ),
    "an end with details": _ended(finish_details={"type": "max_tokens"}),
    "an end beside one that is null": _ended(finish_reason=None, stop_reason="length"),
    "an end as a list": _ended(finish_reason=["length"]),
    "a stop token beside no end": body(
        {"choices": [{"message": {"content": "a"}, "finish_reason": None, "stop_reason": 128001}]},
        answer="a",
    ),
    # Content
    "an object with a type": chat({"content": {"type": "bill"}}, answer='{"type":"bill"}'),
    "an object with a type and a text": chat(
        {"content": {"type": "bill", "text": "a"}}, answer='{"type":"bill","text":"a"}'
    ),
    "an object with content of its own": chat(
        {"content": {"content": "a", "label": "b"}}, answer='{"content":"a","label":"b"}'
    ),
    "a list with the message": body(
        {"choices": [{"message": [{"role": "assistant", "content": "a"}]}]}, answer="a"
    ),
    "a text beside an empty message": body(
        {"choices": [{"message": {"content": ""}, "text": "a"}]}, answer="a"
    ),
    "remarks before the final answer": body(
        {
            "output": [
                {"type": "message", "phase": "commentary", "content": [{"text": "I look."}]},
                {"type": "message", "phase": "final_answer", "content": [{"text": "a"}]},
            ]
        },
        answer="a",
    ),
    "choices that are null": body({"choices": None}, **_NONE),
    **{
        f"{text!r} alone": chat(text, answer=None, **_NONE)
        for text in ("\u200b", "\ufeff\n", "\0", "<think>hm</think>", "hm\n</think>\n\n")
    },
    "thoughts before a call": chat(
        call({"x": 1}) | {"content": "<think>hm</think>"}, answer="<think>hm</think>"
    ),
    "the first of two answers empty": _answers(
        "", "b", outcome="invalid", cause="empty_answer", answer=None, words="answer 1 of 2"
    ),
}

WAITING = tuple(
    json.dumps({"custom_id": "r1", "error": None, name: None, "status": status}).encode()
    for name in ("response_body", "response")
    for status in ("pending", "Pending", "QUEUED", "inProgress", "processing")
)
"""Lines of requests that have not run."""
