"""Lines that strict parsers refuse, and fields of another type than usual."""

import json

from result_lines.making import DEEP, GOOD, beside, chat, content, error, inside, line, raw

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
}
