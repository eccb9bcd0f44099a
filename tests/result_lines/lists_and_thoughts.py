"""Answers in lists of other names, tensors, results of other kinds, and thoughts without an end."""

import json

from result_lines.making import CALL, base64_of, body, chat, error, line

_FAILED = {"outcome": "failed", "cause": "error", "words": "why"}
_CUT = {"outcome": "truncated", "cause": "length", "answer": "hi"}
_OPEN = {"outcome": "invalid", "cause": "open_thoughts", "words": "thoughts"}
_EMPTY = {"outcome": "failed", "cause": "empty_answer"}
_SEARCH = {"type": "web_search_call", "status": "completed", "action": {"query": "x"}}
_REASONED = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
_FILM = {"id": "v", "object": "video", "status": "completed", "seconds": "4"}
_MADE_NOW = _FILM | {"status": "queued"}
_IMAGES = {"images": ["aGk="], "error": None}
_CLASSES = {"classifications": [{"input": "a", "prediction": "pos", "confidence": 0.9}]}
_PICTURES = {"predictions": [{"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}]}
_LABELS = [{"label": "pos", "score": 0.9}, {"label": "neg", "score": 0.1}]


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _tensor(name, datatype, *data, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": list(data)}


def _converse(*content):
    return body({"output": {"message": {"content": list(content)}}, "stopReason": "end_turn"})


def _as(case, **meaning):
    return type(case)(case.line, **meaning)


_LISTS = {
    "a tensor of text": body({"outputs": [_tensor("text_output", "BYTES", "hi")]}, answer="hi"),
    "a tensor of text behind others": body(
        {
            "outputs": [
                _tensor("finish", "BOOL", 1),
                _tensor("log", "BYTES", "x"),
                _tensor("text_output", "BYTES", ["hi"], shape=[1, 1]),
            ]
        },
        answer="hi",
    ),
    "a tensor of numbers": body(
        {"outputs": [_tensor("embedding", "FP32", 0.5, 1.0, shape=[1, 2])]}, answer=[0.5, 1]
    ),
    "a tensor of two vectors": body(
        {"outputs": [_tensor("embedding", "FP32", 1, 2, 3, 4, shape=[2, 2])]},
        answer=[[1, 2], [3, 4]],
    ),
    "tensors that nobody knows": body(
        {"outputs": [_tensor("a", "FP32", 1), _tensor("b", "FP32", 2)]},
        outcome="invalid",
        cause="unknown_body",
        answer=_json({"outputs": [_tensor("a", "FP32", 1), _tensor("b", "FP32", 2)]}),
    ),
    "Mistral on Bedrock, cut": body({"outputs": [{"text": "hi", "stop_reason": "length"}]}, **_CUT),
    "Jurassic": body(
        {"completions": [{"data": {"text": "hi"}, "finishReason": {"reason": "length"}}]},
        **_CUT,
    ),
    "PaLM": body({"predictions": [{"content": "hi"}]}, answer="hi"),
    "outputs with types": body(
        {"outputs": [{"type": "thought", "summary": []}, {"type": "text", "text": "hi"}]},
        answer="hi",
    ),
    "vectors as predictions": body({"predictions": [[0.5, 1]]}, answer=[0.5, 1]),
    "Vertex's embedding": body(
        {"predictions": [{"embeddings": {"values": [0.5, 1], "statistics": {}}}]}, answer=[0.5, 1]
    ),
    "whole numbers by their type": body({"embeddings": {"int8": [[5, -1]]}}, answer=[5, -1]),
    "base64 by its type": body({"embeddings": {"base64": [base64_of(0.5, 1)]}}, answer=[0.5, 1]),
    "Titan's embedding by its type": body({"embeddingsByType": {"int8": [5, 1]}}, answer=[5, 1]),
    "labels of one input in a list": body([_LABELS], answer=_json({"results": _LABELS})),
    **{
        f"{name} as the answer": body(value, answer=_json(value))
        for name, value in {
            "a film": _FILM,
            "images": _IMAGES,
            "classes": _CLASSES,
            "pictures": _PICTURES,
        }.items()
    },
    "a film that is still made": body(
        _MADE_NOW, outcome="invalid", cause="unknown_body", answer=_json(_MADE_NOW)
    ),
}  # fmt: skip
_TOP = {
    "a result that is a text": body({"result": "hi", "finish_reason": "normal"}, answer="hi"),
    "a result that is a text, cut": body({"result": "hi", "finish_reason": "length"}, **_CUT),
    "a line whose result is a text": line({"result": "hi"}, answer="hi"),
    "a line whose result is a word for it": line(
        {"result": "error"}, outcome="failed", cause="not_json"
    ),
    "a completion that holds the choices": line(
        {"completion": {"choices": [{"message": {"content": "hi"}}]}}, answer="hi"
    ),
    "a prediction beside its instance": line(
        {"instance": {"x": 1}, "prediction": {"content": "hi"}}, answer="hi"
    ),
    "a call in a message without content": body(
        {
            "finish_reason": "TOOL_CALL",
            "message": {
                "role": "assistant",
                "tool_plan": "hm",
                "tool_calls": [{"function": {"name": "f", "arguments": '{"x":1}'}}],
            },
        },
        answer=CALL,
    ),
    "a message of a role alone": body({"message": {"role": "assistant"}}, **_EMPTY),
    "llama.cpp's limit of before": body(
        {"content": "hi", "stop": True, "stopped_limit": True}, words="limit", **_CUT
    ),
    "xAI's limit": chat("hi", "REASON_MAX_LEN", words="REASON_MAX_LEN", **_CUT),
    "a token as the end": chat("hi", "<|im_end|>"),
}
_THOUGHTS = {
    "thoughts without an end": chat("<think>hm, hm.", answer="<think>hm, hm.", **_OPEN),
    "thoughts of another name without an end": chat(
        "\n<seed:think>\nhm", answer="\n<seed:think>\nhm", **_OPEN
    ),
    "thoughts in brackets without an end": chat("[THINK]hm", answer="[THINK]hm", **_OPEN),
    "thoughts without an end, cut": chat(
        "<think>hm", "length", outcome="truncated", cause="length", answer="<think>hm"
    ),
    "a tag inside a text": chat("Write <think> first.", answer="Write <think> first."),
    "thoughts in brackets alone": chat("[THINK]hm[/THINK]", answer=None, **_EMPTY),
    "thoughts of another name alone": chat("<seed:think>x</seed:think>", answer=None, **_EMPTY),
    "Bedrock's thoughts before the text": _as(_converse(_REASONED, {"text": "hi"}), answer="hi"),
    "Bedrock's thoughts alone": _as(_converse(_REASONED), **_EMPTY),
    "a search alone": body({"status": "completed", "output": [_SEARCH]}, **_EMPTY),
}
_ERRORS = {
    **{
        f"{name} beside nothing": body(fields, **_FAILED)
        for name, fields in {
            "a msg": {"code": 7, "msg": "why", "data": None},
            "Minimax's response": {
                "choices": None,
                "base_resp": {"status_code": 1008, "status_msg": "why"},
            },
            "the type of AWS": {"__type": "ThrottlingException", "message": "why"},
        }.items()
    },
    "all well, and nothing": body({"code": 0, "msg": "ok", "data": None}, **_EMPTY),
    **{
        f"the words of {name}": error(fields, 400, cause="http_400", words="why")
        for name, fields in {
            "AWS": {"Message": "why"},
            "WeChat": {"errcode": 7, "errmsg": "why"},
            "OAuth": {"error": "invalid_request", "error_description": "why"},
        }.items()
    },
}
CASES = _LISTS | _TOP | _THOUGHTS | _ERRORS
