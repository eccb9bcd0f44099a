"""Answers inside envelopes of any name, spelled as in other languages, or kept as their streams."""

import base64
import json

from result_lines.making import CALL, GOOD, body, call, chat, choice, line, raw

_FAILED = {"outcome": "failed", "cause": "error", "words": "why"}
_EMPTY = {"outcome": "failed", "cause": "empty_answer"}
_CUT = {"outcome": "truncated", "cause": "length", "answer": "hi"}
_OPEN = {"outcome": "invalid", "cause": "open_thoughts", "words": "thoughts"}
_BROKEN_OFF = {"outcome": "invalid", "cause": "finish_stream_cut"}
_OK = {"answer": "hi"}
_SHORT = choice("hi", "length")
_ERROR = {"error": {"code": 13, "message": "why"}}
_TWO = {"responses": [GOOD, choice("ho")]}
_UP = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
_MESSAGE = {"role": "assistant", "content": "hi"}
_TENCENT = {"Message": {"Role": "assistant", "Content": "hi"}, "FinishReason": "length"}
_TENCENTS_CALL = {"Id": "c", "Function": {"Name": "f", "Arguments": '{"x":1}'}}
_OLLAMAS_CALL = {"function": {"name": "f", "arguments": {"x": 1}}}
_BLOCKED = {"prompt_feedback": {"block_reason": "SAFETY"}, "usage_metadata": {}}
_NO_IMAGE = {"created": 1, "data": [{"b64_json": None, "url": None}]}
_OF_A_MODEL = {"choices": [{"message": {"content": "no"}}]}


def _json(value):
    return json.dumps(value, separators=(",", ":"))


def _base64(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def _xai(fields, **meaning):
    return raw(json.dumps({"batch_request_id": "r1"} | fields), **meaning)


def _output(finish):
    return {"outputs": [{"finish_reason": finish, "message": {"role": 2, "content": "hi"}}]}


def _gemini(text, finish=None, **part):
    parts = [part or {"text": text}]
    part = {"content": {"parts": parts, "role": "model"}, "finishReason": finish}
    return {"candidates": [part], "usageMetadata": {"promptTokenCount": 3}}


def _ollama(text, **end):
    return {"message": {"role": "assistant", "content": text}, "done": bool(end)} | end


def _events(*events):
    return "".join(f"event: {it['type']}\ndata: {json.dumps(it)}\n\n" for it in events)


def _block(number, delta=None, **block):
    told = {"content_block": block} if block else {"delta": delta}
    kind = "content_block_start" if block else "content_block_delta"
    return {"type": kind, "index": number} | told


def _lines(*pieces):
    return "\n".join(map(json.dumps, pieces))


_BLOCKS = (
    {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3}}},
    _block(0, type="thinking", thinking=""),
    _block(0, {"type": "thinking_delta", "thinking": "hm"}),
    _block(1, type="text", text=""),
    _block(1, {"type": "text_delta", "text": "h"}),
    _block(1, {"type": "text_delta", "text": "i"}),
)
_END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
_CALLED = (
    _block(0, type="tool_use", id="t", name="f", input={}),
    _block(0, {"type": "input_json_delta", "partial_json": '{"x"'}),
    _block(0, {"type": "input_json_delta", "partial_json": ":1}"}),
)
_DELTAS = [{"type": "response.output_text.delta", "delta": text} for text in ("h", "i")]

_ENVELOPES = {
    **{
        f"an answer in {name}": case
        for name, case in {
            "a response of a response": line({"response": {"response": {"body": GOOD}}}, **_OK),
            "three responses": line({"response": {"response": {"response": GOOD}}}, **_OK),
            "a value of a result": line({"result": {"value": GOOD}}, **_OK),
            "a payload": body({"payload": GOOD}, **_OK),
            "a result of data": body({"data": {"result": GOOD}}, **_OK),
            "a list of one response": body({"responses": [GOOD]}, **_OK),
            "data, in a list": body({"data": [GOOD]}, **_OK),
            "a prediction": body({"predictions": [GOOD]}, **_OK),
            "a message of a result": body({"result": {"message": _MESSAGE}}, **_OK),
            "a result that succeeded": line({"result": {"type": "succeeded", "body": GOOD}}, **_OK),
            "a text three times": body(json.dumps(json.dumps(json.dumps(GOOD))), **_OK),
            "base64": body({"isBase64Encoded": True, "body": _base64(GOOD)}, **_OK),
            "an array of PHP": body({"choices": {"0": GOOD["choices"][0]}}, **_OK),
        }.items()
    },
    "vectors in a result": body({"result": {"shape": [1, 2], "data": [[0.5, 1]]}}, answer=[0.5, 1]),
    "a cut answer in a response of a response": line({"response": {"response": _SHORT}}, **_CUT),
    "two answers in a list": body(
        _TWO, outcome="invalid", cause="unknown_body", answer=_json(_TWO)
    ),
    "choices of the model itself": body(
        {"content": [{"type": "tool_use", "name": "f", "input": _OF_A_MODEL}]},
        answer=[{"name": "f", "arguments": _OF_A_MODEL}],
    ),
    "an error in a result": line({"batch_result": _ERROR}, **_FAILED),
    "a status in a list of one": line(
        {"response": [{"status_code": 500, "body": {"error": {"message": "why"}}}]},
        outcome="failed",
        cause="http_500",
        words="why",
    ),
    "a status in a body": body(
        {"statusCode": 429, "headers": {}, "body": json.dumps({"message": "why"})},
        outcome="failed",
        cause="http_429",
        words="why",
    ),
    "a status beside errors": body(
        {"errors": [{"code": "x", "message": "why"}], "status_code": 404},
        outcome="failed",
        cause="http_404",
        words="why",
    ),
    "a failed task": body({"output": {"code": "InternalError", "message": "why"}}, **_FAILED),
    "an error beside no choices": body(
        {"choices": [], "base_resp": {"status_code": 1002, "status_msg": "why"}}, **_FAILED
    ),
    "an error in a body with an answer": body(
        GOOD | {"error": "why"}, outcome="invalid", cause="error", words="why", answer="hi"
    ),
    "a message beside an id": body(
        {"id": "x", "message": "warming up"},
        outcome="invalid",
        cause="unknown_body",
        answer='{"id":"x","message":"warming up"}',
    ),
    "a message beside a model": body({"model": "m", "message": "hi"}, answer="hi"),
    "Anthropic's error without an error": line(
        {"result": {"type": "errored", "message": "why"}},
        outcome="failed",
        cause="errored",
        words="why",
    ),
}
_XAI = {
    "xAI's answer": _xai(
        {"batch_result": {"response": {"chat_get_completion": GOOD}}}, answer="hi"
    ),
    "xAI's own answer": _xai(
        {"response": {"completion_response": _output("REASON_STOP")}}, answer="hi"
    ),
    "xAI's own answer, cut": _xai(
        {"response": {"completion_response": _output("REASON_MAX_LEN")}}, words="MAX_LEN", **_CUT
    ),
    "xAI's error": _xai(_ERROR, **_FAILED),
}
_SPELLINGS = {
    "Tencent's answer": body({"Response": {"Choices": [_TENCENT], "RequestId": "q"}}, **_CUT),
    "Tencent's call": body(
        {"Response": {"Choices": [{"Message": {"Content": "", "ToolCalls": [_TENCENTS_CALL]}}]}},
        answer=CALL,
    ),
    "Tencent's error": body({"Response": {"Error": {"Code": "x", "Message": "why"}}}, **_FAILED),
    "calls in camel's case": body(
        {"choices": [{"message": {"content": None, "toolCalls": call('{"x":1}')["tool_calls"]}}]},
        answer=CALL,
    ),
    "Gemini's call in snake case": body(
        {
            "candidates": [
                {"content": {"parts": [{"function_call": {"name": "f", "args": {"x": 1}}}]}}
            ]
        },
        answer=CALL,
    ),
    "Gemini's blocked prompt in snake case": body(
        _BLOCKED, outcome="refused", cause="content_filter"
    ),
    "places as texts": body(
        {"choices": [choice("b", index="1")["choices"][0], choice("a", index="0")["choices"][0]]},
        answer="a",
    ),
    "an end with the name of its kind": chat("hi", "StopReason.end_turn", answer="hi"),
}
_SHAPES = {
    "a choice that is the message": body({"choices": [_MESSAGE]}, answer="hi"),
    "a choice with messages": body(
        {"choices": [{"messages": [{"sender_type": "BOT", "text": "hi"}]}]}, answer="hi"
    ),
    "calls at the top": body(
        {"text": "", "tool_calls": [{"name": "f", "parameters": {"x": 1}}]}, answer=CALL
    ),
    "a conversation": body(
        [{"generated_text": [{"role": "user", "content": "q"}, _MESSAGE]}], answer="hi"
    ),
    "Baidu's limit": body({"result": "hi", "is_truncated": True}, words="limit", **_CUT),
    "a candidate without parts": body({"candidates": [{"content": {"role": "model"}}]}, **_EMPTY),
    "a message of null in an output": body(
        {"output": [{"type": "message", "content": None}]}, **_EMPTY
    ),
    "an output that is not whole": body(
        {"status": "completed", "output": [{"type": "message", "status": "incomplete"} | _MESSAGE]},
        words="incomplete",
        **_CUT,
    ),
    "an output that is still made": body(
        {"status": "processing", "output": ["h"]}, outcome="failed", cause="finish_processing"
    ),
    "a call of nothing": chat(call(None, None), "tool_calls", **_EMPTY),
    "no image": body(_NO_IMAGE, outcome="invalid", cause="unknown_body", answer=_json(_NO_IMAGE)),
    "a vector by its type beside null": body(
        {"embeddings": {"float": None, "int8": [[5, 1]]}}, answer=[5, 1]
    ),
    "vectors of a text's pieces": body(
        {"data": [{"data": [{"embedding": [1], "index": 1}, {"embedding": [0], "index": 0}]}]},
        answer=[[0], [1]],
    ),
}
_THOUGHTS = {
    "Harmony's answer": chat(f"{_UP}hi<|return|>", answer=f"{_UP}hi<|return|>"),
    "Harmony's answer of nothing": chat(f"{_UP}<|return|>", answer=None, **_EMPTY),
    "Harmony's thoughts alone": chat(_UP[:32], answer=_UP[:32], **_OPEN),
    "Kimi's thoughts alone": chat("◁think▷hm◁/think▷", answer=None, **_EMPTY),
    "Kimi's thoughts without an end": chat("◁think▷hm", answer="◁think▷hm", **_OPEN),
    "Command's thoughts alone": chat("<|START_THINKING|>hm<|END_THINKING|>", answer=None, **_EMPTY),
}
_STREAMS = {
    "a stream of Gemini": body([_gemini("h"), _gemini("i", "STOP")], answer="hi"),
    "a stream of Gemini at its limit": body(
        [_gemini("h"), _gemini("i", "MAX_TOKENS")], words="MAX_TOKENS", **_CUT
    ),
    "a stream of Gemini that was cut": body(
        [_gemini("h"), _gemini("i")], answer="hi", **_BROKEN_OFF
    ),
    "a stream of Gemini's calls": body(
        [
            _gemini("", functionCall={"name": "f", "args": {"x": 1}}),
            _gemini("", "STOP", functionCall={"name": "g", "args": {}}),
        ],
        answer=[*CALL, {"name": "g", "arguments": {}}],
    ),
    "a stream of Ollama's call": body(
        _lines(
            _ollama("") | {"message": {"tool_calls": [_OLLAMAS_CALL]}},
            _ollama("", done_reason="stop"),
        ),
        answer=CALL,
    ),
    "a stream of Anthropic": body(_events(*_BLOCKS, _END), answer="hi"),
    "a stream of Anthropic that was cut": body(_events(*_BLOCKS), answer="hi", **_BROKEN_OFF),
    "a stream of Anthropic's call": body(_events(*_CALLED, _END), answer=CALL),
    "a stream of Ollama": body(
        _lines(_ollama("h"), _ollama("i"), _ollama("", done_reason="stop")), answer="hi"
    ),
    "a piece of Ollama's stream": body(_ollama("h"), answer="h", **_BROKEN_OFF),
    "a stream of a response that was cut": body(_events(*_DELTAS), answer="hi", **_BROKEN_OFF),
}
CASES = _ENVELOPES | _XAI | _SPELLINGS | _SHAPES | _THOUGHTS | _STREAMS
