"""Lines of endpoints beside chat, and of servers with names of their own for a text or an error."""

import json

from result_lines.making import CALL, USAGE, base64_of, body, call, chat, choice, error, line, raw

_RANKED = {"results": [{"index": 1, "document": {"text": "b"}, "relevance_score": 0.9}]}
_SCORED = {"object": "list", "data": [{"index": 0, "object": "score", "score": 0.5}]}
_LABELLED = {"data": [{"index": 0, "label": "pos", "probs": [0.1, 0.9], "num_classes": 2}]}
_MODERATED = {"model": "m", "results": [{"flagged": True, "category_scores": {"hate": 0.9}}]}
_IMAGES = {"created": 1, "data": [{"b64_json": "aGk=", "revised_prompt": "x"}]}
_ADDRESSED = {"created": 1, "data": [{"url": "https://example.test/y.png"}]}
_PAGES = {"pages": [{"index": 0, "markdown": "# T"}, {"index": 1, "markdown": "more"}]}
_TEI = [{"index": 0, "score": 0.9}, {"index": 1, "score": 0.1}]
_SPARSE = [{"index": 5, "value": 0.5}]
_ADDRESS = str.maketrans("+/", "-_")
_STATUS = 'Bad Request: {"error": {"code": 400, "message": "wrong mime"}}'
_PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _result(value):
    """A body that is the answer itself."""
    return body(value, answer=_json(value))


def _prediction(output):
    return body({"id": "x", "status": "succeeded", "output": output}, answer="hi")


def _named(**fields):
    return body({"id": "x", "model": "m", **fields}, answer="hi")


_OF_ENDPOINTS = {
    "scores": _result(_SCORED),
    "ranks": _result(_RANKED),
    "labels": _result(_LABELLED),
    "a moderation": _result(_MODERATED),
    "images": _result(_IMAGES),
    "addresses of images": _result(_ADDRESSED),
    "pages of a document": _result(_PAGES),
    "ranks as a bare list": body(_TEI, answer=_json({"data": _TEI})),
    "sparse vectors": body([_SPARSE], outcome="invalid", cause="embedding", answer=_SPARSE),
    "objects that nobody knows": body(
        [{"a": 1}, {"a": 2}],
        outcome="invalid",
        cause="unknown_body",
        answer='{"data":[{"a":1},{"a":2}]}',
    ),
    "pooling": body({"data": [{"object": "pooling", "data": [0.5, 1]}]}, answer=[0.5, 1]),
    "a vector for each token": body(
        {"data": [{"index": 0, "embeddings": [[0.5, 1], [0, 1]]}]}, answer=[[0.5, 1], [0, 1]]
    ),
    "llama.cpp's list of embeddings": body(
        [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": [0, 1]}],
        answer=[[0.5, 1], [0, 1]],
    ),
    "base64 as in addresses": body(
        {"data": [{"embedding": base64_of(-1.7014118346046923e38, 0.5).translate(_ADDRESS)}]},
        answer=[-1.7014118346046923e38, 0.5],
    ),
    "base64 without its end": body(
        {"data": [{"embedding": base64_of(0.5, 0.25).rstrip("=")}]}, answer=[0.5, 0.25]
    ),
    "an image beside an empty content": chat(
        {"role": "assistant", "content": "", "images": _PICTURE}, answer=_json(_PICTURE)
    ),
    "an image beside a text": chat({"content": "hi", "images": _PICTURE}, answer="hi"),
}  # fmt: skip
_OF_SERVERS = {
    "Titan": _named(results=[{"tokenCount": 2, "outputText": "hi", "completionReason": "FINISH"}]),
    "Titan, cut": body(
        {"results": [{"outputText": "hi", "completionReason": "LENGTH"}]},
        outcome="truncated", cause="length", words="LENGTH", answer="hi",
    ),
    "Llama on Bedrock": _named(generation="hi", stop_reason="stop"),
    "Llama on Bedrock, cut": body(
        {"generation": "hi", "stop_reason": "length"},
        outcome="truncated", cause="length", answer="hi",
    ),
    "watsonx": _named(results=[{"generated_text": "hi", "stop_reason": "eos_token"}]),
    "watsonx, cut": body(
        {"results": [{"generated_text": "hi", "stop_reason": "max_tokens"}]},
        outcome="truncated", cause="length", answer="hi",
    ),
    "Triton": _named(text_output="hi", model_version="1"),
    "generations": _named(generations=[{"text": "hi", "finish_reason": "COMPLETE"}]),
    "predictions": _named(predictions=["hi"]),
    "an output in pieces": _prediction(["h", "i"]),
    "an output of one text": _prediction("hi"),
}  # fmt: skip
_OF_LINES = {
    "a custom_id in the response": raw(
        json.dumps({"response": {"custom_id": "r1", "status_code": 200, "body": choice("hi")}}),
        answer="hi",
    ),
    "a custom_id in the request": raw(
        json.dumps({"request": {"custom_id": "r1"}, "response": {"body": choice("hi")}}),
        answer="hi",
    ),
    "choices in the line itself": line(choice("hi") | {"usage": USAGE}, answer="hi"),
    "a content in the line itself": line({"content": "hi", "created": 1}, answer="hi"),
    "an answer by a name that nobody knows": line(
        {"batch_result": {"chat": "hi"}},
        outcome="invalid", cause="unknown_body", answer='{"batch_result":{"chat":"hi"}}',
    ),
    "a response of no known shape, its fields in their order": line(
        {"response": {"status_code": 200, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}},
        outcome="invalid", cause="unknown_body",
        answer='{"one":1,"two":2,"three":3,"four":4,"five":5}',
    ),
    "nothing beside what a line has": line(
        {"request": {"a": 1}, "metadata": {"b": 2}, "model": "m", "response": {}},
        outcome="failed", cause="no_response",
    ),
    "a sentence as the status": line(
        {"status": _STATUS, "request": {}, "response": {}},
        outcome="failed", cause="error", words="wrong mime",
    ),
}  # fmt: skip
_ERRORS = {
    "vLLM's longest model length": error(
        {"message": "The decoder prompt (length 9) is longer than the maximum model length of 4."},
        400, cause="context_length",
    ),
    "TEI's and TGI's longest input": error(
        {"error": "`inputs` must have less than 512 tokens. Given: 600", "error_type": "x"},
        413, cause="context_length",
    ),
    "TGI's inputs and outputs": error(
        {"error": "`inputs` tokens + `max_new_tokens` must be <= 9. Given: 10 `inputs` tokens"},
        422, cause="context_length",
    ),
    "a parameter that is too large": error(
        {"error": {"message": "max_tokens must be less than 4096"}}, 400, cause="http_400"
    ),
    "Zhipu's filter, by its number": error(
        {"error": {"code": "1301", "message": "no"}, "contentFilter": [{"level": 1}]},
        400, outcome="refused", cause="content_filter",
    ),
    "errors by the names of fields": error(
        {"type": "https://example.test", "title": "Wrong.", "errors": {"n": ["n is required"]}},
        400, cause="http_400", words="n is required",
    ),
    "a title alone": error(
        {"type": "https://example.test", "title": "Wrong."}, 400, cause="http_400", words="Wrong."
    ),
    "a call beside images": chat(
        call('{"x":1}') | {"images": _PICTURE}, "tool_calls", answer=CALL
    ),
}  # fmt: skip
CASES = _OF_ENDPOINTS | _OF_SERVERS | _OF_LINES | _ERRORS
