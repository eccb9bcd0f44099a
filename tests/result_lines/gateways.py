"""Lines as gateways hand on others' answers: envelopes, kept streams, errors by any name."""

import json

from result_lines.making import CALL, GOOD, base64_of, body, call, chat, choice, error, line


def _piece(index=0, finish=None, **delta):
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def _stream(*pieces, end="data: [DONE]\n\n"):
    return "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + end


_PIECES = (
    _piece(role="assistant", content=""),
    _piece(content="a "),
    _piece(content="b"),
    _piece(finish="stop"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
)
_CALLED = tuple(
    _piece(tool_calls=[{"index": 0, "function": function}])
    for function in ({"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"})
)
_EVENTS = _stream(
    {"type": "response.output_text.delta", "delta": "a"},
    {
        "type": "response.completed",
        "response": {"status": "completed", "output": [{"type": "message", "content": "a b"}]},
    },
)
_FAILED = {"outcome": "failed", "cause": "error", "words": "why"}
_CUT = {"outcome": "truncated", "cause": "length", "answer": "hi"}

CASES = {
    # Errors that are none, beside a good answer
    **{
        f"{nothing!r} for an error": line(
            {"response": {"status_code": 200, "body": GOOD}, "error": nothing}, answer="hi"
        )
        for nothing in (
            "none",
            "N/A",
            "0",
            [None],
            [{}],
            {"code": 0, "message": "success"},
            {"code": 200, "message": "OK"},
            {"message": "null"},
        )
    },
    # Errors that are some: the answer beside them is kept, for it was paid for
    "words of an error beside an answer": line(
        {"response": {"status_code": 200, "body": GOOD}, "error": "filtered by the gateway"},
        outcome="invalid",
        cause="error",
        answer="hi",
        words="filtered by the gateway",
    ),
    "an error with a status beside an answer": line(
        {"response": {"body": GOOD}, "error": {"code": 429, "message": "why"}},
        outcome="invalid",
        cause="http_429",
        answer="hi",
        words="why",
    ),
    "an error inside a response with an answer": line(
        {"response": {"status_code": 200, "body": GOOD, "error": {"message": "why"}}},
        outcome="invalid",
        cause="error",
        answer="hi",
        words="why",
    ),
    "an error beside a response of no success": line(
        {"response": {"status_code": 500, "body": GOOD}, "error": {"message": "why"}},
        outcome="failed",
        cause="http_500",
        words="why",
    ),
    "an error beside an empty answer": line(
        {"response": {"status_code": 200, "body": {"choices": []}}, "error": {"message": "why"}},
        **_FAILED,
    ),
    "the end of a batch beside an answer": line(
        {"response": {"body": GOOD}, "error": {"code": "batch_expired", "message": "why"}},
        outcome="expired",
        cause="expired",
        words="why",
    ),
    # Envelopes
    "a result of a chat": line({"result": GOOD}, answer="hi"),
    "a result with a status": line({"result": {"status_code": 200, "body": GOOD}}, answer="hi"),
    "no result beside an error": line({"result": None, "error": {"message": "why"}}, **_FAILED),
    "an output in place of a response": line({"output": GOOD}, answer="hi"),
    "a response in a response": line({"response": {"response": GOOD}}, answer="hi"),
    "data with a code": body({"code": 0, "msg": "ok", "data": GOOD}, answer="hi"),
    "a result in a body": body({"success": True, "errors": [], "result": GOOD}, answer="hi"),
    "a text in a result": body({"success": True, "result": {"response": "hi"}}, answer="hi"),
    "DashScope's text": body({"output": {"text": "hi", "finish_reason": "stop"}}, answer="hi"),
    "DashScope's limit": body({"output": {"text": "hi", "finish_reason": "length"}}, **_CUT),
    "TGI's details": body(
        [{"generated_text": "hi", "details": {"finish_reason": "length"}}], **_CUT
    ),
    "SGLang's own form": body(
        {"text": "hi", "meta_info": {"finish_reason": {"type": "length", "length": 2}}}, **_CUT
    ),
    "a custom_id in another spelling": line(
        {"custom_id": None, "customId": "r1", "response": GOOD}, answer="hi"
    ),
    # Streams that were kept
    "a stream": body(_stream(*_PIECES), answer="a b"),
    "a stream with other line ends": body(_stream(*_PIECES).replace("\n", "\r\n"), answer="a b"),
    "a list of pieces": body(list(_PIECES), answer="a b"),
    "a stream of a tool call": body(_stream(*_CALLED, _piece(finish="tool_calls")), answer=CALL),
    "a stream of two choices": body(
        _stream(_piece(1, content="b"), _piece(0, "stop", content="a"), _piece(1, "stop")),
        answer="a",
    ),
    "a stream at its limit": body(_stream(_piece(content="hi"), _piece(finish="length")), **_CUT),
    "a stream that was cut": body(
        _stream(*_PIECES[:2], end=""), outcome="invalid", cause="finish_stream_cut", answer="a "
    ),
    "a stream that ends in an error": body(
        _stream(_piece(content="a"), {"error": {"message": "why"}}), **_FAILED
    ),
    "a stream of an error": body(_stream({"error": {"message": "why"}}), **_FAILED),
    "a stream of a response": body(_EVENTS, answer="a b"),
    "a stream in which a type is a list": body(
        _stream({"type": ["message"]}, _piece(content="a b", finish="stop")), answer="a b"
    ),
    # Errors by other names, in good responses
    **{
        f"{name} in a good response": body(fields, **_FAILED)
        for name, fields in {
            "a message with a code": {"code": "InvalidParameter", "message": "why"},
            "a status of error": {"status": "error", "message": "why"},
            "no success": {"success": False, "message": "why"},
            "a detail": {"detail": "why"},
            "errors": {"errors": [{"code": 7009, "message": "why"}], "result": None},
            "Baidu's error": {"error_code": 336003, "error_msg": "why"},
            "Apigee's fault": {"fault": {"faultstring": "why"}},
        }.items()
    },
    "a status in a good response": body(
        {"code": 429, "message": "why"}, outcome="failed", cause="http_429", words="why"
    ),
    "a status with its reason": error(
        {"message": "why"}, "500 Internal Server Error", cause="http_500", words="why"
    ),
    "a status by another name": line(
        {"response": {"statusCode": 503, "body": {"message": "why"}}},
        outcome="failed",
        cause="http_503",
        words="why",
    ),
    "a status beside the response": line(
        {"status_code": 500, "response": {"body": {"message": "why"}}},
        outcome="failed",
        cause="http_500",
        words="why",
    ),
    "a message in place of a response": line({"response": None, "error_message": "why"}, **_FAILED),
    "a status of expired alone": line(
        {"status": "expired", "response": None}, outcome="expired", cause="expired"
    ),
    "Google's status in place of a response": line(
        {"status": {"code": 3, "message": "why"}, "response": None}, **_FAILED
    ),
    **{
        f"too long: {words}": error({"error": {"message": words}}, 400, cause="context_length")
        for words in (
            "prompt is too long: 212345 tokens > 200000 maximum",
            "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
            "the request exceeds the available context size, try increasing it",
        )
    },
    "too long by its code": error(
        {"error": {"message": "no", "code": "context_length_exceeded"}}, 400, cause="context_length"
    ),
    # Thoughts, refusals, calls
    **{
        f"thoughts called {kind}": chat(
            {"content": [{"type": kind, "text": "hm"}, {"type": "text", "text": "a"}]}, answer="a"
        )
        for kind in ("think", "reasoning_content", "reasoning.text", "analysis")
    },
    "a refusal as an object": chat(
        {"content": None, "refusal": {"text": "no"}}, outcome="refused", cause="refusal", words="no"
    ),
    "arguments that are JSON twice": chat(call(json.dumps('{"x":1}')), "tool_calls", answer=CALL),
    "a tool call of nothing": chat({"content": "a", "tool_calls": [None, {}]}, answer="a"),
    "a message that is null beside a delta": body(
        {"choices": [{"message": None, "delta": {"content": "a"}, "finish_reason": "stop"}]},
        answer="a",
    ),
    "a text for a choice": body({"choices": ["a"]}, answer="a"),
    # Ends
    **{
        f"the end {word}": chat("a", word)
        for word in ("normal", "eosFound", "STOP_CRITERIA_MET", "stop_words", "</s>")
    },
    "LM Studio's limit": body(choice("hi", "maxPredictedTokensReached"), **_CUT),
    # Embeddings
    "Cohere's embedding": body({"embeddings": {"float": [[0.5, 1]]}}, answer=[0.5, 1]),
    "an embedding without lists around it": body({"data": {"embedding": [0.5]}}, answer=[0.5]),
    "numbers alone": body([0.5, 1], answer=[0.5, 1]),
    "an embedding as JSON text": body({"data": [{"embedding": "[0.5, 1]"}]}, answer=[0.5, 1]),
    "an embedding by its type": body({"data": [{"embedding": {"float": [1]}}]}, answer=[1]),
    "base64 under a type": body({"data": [{"embedding": {"float": base64_of(0.5)}}]}, answer=[0.5]),
}
