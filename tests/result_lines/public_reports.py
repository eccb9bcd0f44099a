"""Lines as people have met them with further servers: vLLM, SGLang, TGI, Gemini, Mistral, Groq, ...

Some are of kinds that public reports describe, the others follow from what these servers are
known to write; all in words of ours.
"""

import json

from result_lines.making import CALL, GOOD, body, chat, choice, error, line

_SEEN = {"type": "BadRequestError", "message": "why", "param": None}
_THOUGHT = {"content": None, "reasoning_content": "hm"}

CASES = {
    # vLLM
    "vLLM's thoughts without an answer": chat(_THOUGHT, outcome="failed", cause="empty_answer"),
    "vLLM's thoughts up to the limit": chat(
        _THOUGHT, "length", outcome="truncated", cause="length"
    ),
    "vLLM's run-batch error": line(
        {
            "response": {"status_code": 400, "request_id": "q", "body": None},
            "error": {"object": "error", "code": 400} | _SEEN,
        },
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    "vLLM's newer error, one deeper": error(
        {"error": {"code": 400} | _SEEN}, cause="http_400", words="why"
    ),
    "vLLM's engine that is gone": error(
        {"error": {"code": 500, "message": "EngineCore died", "type": "InternalServerError"}},
        cause="http_500",
        words="EngineCore died",
    ),
    "a stop reason that is a token": chat("a", more={"stop_reason": 151643}, answer="a"),
    "no tool calls, in a list": chat({"content": "a", "tool_calls": []}, answer="a"),
    # SGLang and TGI
    "SGLang's one choice without a list": body(
        {"choices": choice("a")["choices"][0], "usage": None}, answer="a"
    ),
    "SGLang's end with what it matched": chat("a", {"type": "stop", "matched": 128009}, answer="a"),
    "SGLang's abort": chat(
        "so far", {"type": "abort", "message": "why"}, outcome="failed", cause="finish_abort"
    ),
    "TGI's error": error(
        {"error": "Input validation error: why", "error_type": "validation"},
        422,
        cause="http_422",
        words="why",
    ),
    "TGI's one tool call without a list": chat(
        {"content": None, "tool_calls": {"function": {"name": "f", "arguments": {"x": 1}}}},
        "eos_token",
        answer=CALL,
    ),
    "llama.cpp's limit": body(
        {"content": "so far", "stop": True, "stop_type": "limit"},
        outcome="truncated",
        cause="length",
        answer="so far",
    ),
    # Gemini, by its own form and by OpenAI's
    "Gemini's limit without content": body(
        {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}]},
        outcome="truncated",
        cause="length",
    ),
    "Gemini's end for no reason": body(
        {"candidates": [{"finishReason": "OTHER", "index": 0}]},
        outcome="failed",
        cause="finish_other",
        words="OTHER",
    ),
    "Gemini's broken call": body(
        {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "why"}]},
        outcome="failed",
        cause="finish_malformed_function_call",
        words="MALFORMED",
    ),
    "Gemini's filter by OpenAI's form": chat(
        {"role": "assistant"},
        "content_filter: PROHIBITED_CONTENT",
        outcome="refused",
        cause="content_filter",
        words="PROHIBITED",
    ),
    "Gemini's broken call by OpenAI's form": chat(
        {"role": "assistant"},
        "function_call_filter: MALFORMED_FUNCTION_CALL",
        outcome="failed",
        cause="finish_malformed_function_call",
        words="MALFORMED",
    ),
    "a message of nothing": chat({"role": "assistant"}, outcome="failed", cause="empty_answer"),
    "Google's error by number and name": error(
        {"code": 3, "message": "why", "status": "INVALID_ARGUMENT"},
        cause="invalid_argument",
        words="why",
    ),
    "Google's error by status": error(
        {"code": 429, "message": "why", "status": "RESOURCE_EXHAUSTED"}, cause="http_429"
    ),
    "Gemini's line by its key": line(
        {"custom_id": None, "key": "r1", "response": GOOD}, answer="hi"
    ),
    # Azure
    "Azure's filter of the answer": chat(
        {"role": "assistant"}, "content_filter", outcome="refused", cause="content_filter"
    ),
    "Azure's limit of calls": error(
        {"error": {"code": "429", "message": "why"}}, 429, cause="http_429", words="why"
    ),
    "an error that says its status": error(
        {"status": 503, "message": "why"}, cause="http_503", words="why"
    ),
    # Mistral
    "Mistral's fields that lack": error(
        {
            "object": "error",
            "message": {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]},
            "type": "invalid_request_error",
            "code": None,
            "raw_status_code": 422,
        },
        422,
        cause="http_422",
        words="body.messages: Field required",
    ),
    "Mistral's thoughts in pieces": chat(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ]
        },
        answer="a",
    ),
    # Groq, Together, Fireworks
    "Groq's JSON that failed": error(
        {
            "error": {
                "message": "Failed to generate JSON",
                "type": "invalid_request_error",
                "code": "json_validate_failed",
                "failed_generation": "{",
            }
        },
        400,
        cause="http_400",
        words="Failed to generate JSON",
    ),
    "Groq's thoughts beside nothing": chat(
        {"content": "", "reasoning": "hm"}, outcome="failed", cause="empty_answer"
    ),
    "Together's end": chat("a", "eos", answer="a"),
    "Together's error with its status beside": line(
        {"status_code": 429, "response": None, "error": "Too many"},
        outcome="failed",
        cause="http_429",
        words="Too many",
    ),
    "Fireworks's answer without an envelope": line(
        {"response": {"id": "c", "object": "chat.completion"} | GOOD}, answer="hi"
    ),
    # Anthropic
    "Anthropic's overload": line(
        {
            "result": {
                "type": "errored",
                "error": {
                    "type": "error",
                    "error": {"type": "overloaded_error", "message": "Overloaded"},
                },
            }
        },
        outcome="failed",
        cause="error",
        words="Overloaded",
    ),
    "Anthropic's cancellation": line(
        {"result": {"type": "canceled"}}, outcome="cancelled", cause="cancelled"
    ),
    "Anthropic's refusal of nothing": body(
        {"type": "message", "content": [], "stop_reason": "refusal"},
        outcome="refused",
        cause="refusal",
    ),
    "Anthropic's own tools before the text": body(
        {
            "type": "message",
            "content": [
                {"type": "server_tool_use", "id": "t", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "content": [{"type": "x", "title": "y"}]},
                {"type": "text", "text": "a", "citations": None},
                {"type": "text", "text": "b"},
            ],
            "stop_reason": "end_turn",
        },
        answer="ab",
    ),
    "Anthropic's full context": body(
        {
            "type": "message",
            "content": [{"type": "text", "text": "a"}],
            "stop_reason": "model_context_window_exceeded",
        },
        outcome="truncated",
        cause="context_length",
        answer="a",
    ),
    # OpenAI's responses
    "a response that a filter ended": body(
        {
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [],
        },
        outcome="refused",
        cause="content_filter",
    ),
    "a response of thoughts alone": body(
        {"status": "completed", "error": None, "output": [{"type": "reasoning", "summary": []}]},
        outcome="failed",
        cause="empty_answer",
    ),
    "a response with calls of the server's tools": body(
        {
            "status": "completed",
            "output": [
                {"type": "web_search_call", "status": "completed", "action": {"query": "x"}},
                {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
            ],
        },
        answer="a",
    ),
    "a response that has not run": body(
        {"status": "queued", "output": []}, outcome="failed", cause="finish_queued"
    ),
    # Others
    "Cohere's message": body(
        {
            "message": {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            "finish_reason": "COMPLETE",
        },
        answer="a",
    ),
    "DashScope's inspection": line(
        {
            "response": {"status_code": 400, "body": {}},
            "error": {"code": "DataInspectionFailed", "message": "why"},
        },
        outcome="refused",
        cause="content_filter",
        words="why",
    ),
    "Bedrock's record": line(
        {
            "custom_id": None,
            "recordId": "r1",
            "modelOutput": {
                "type": "message",
                "content": [{"type": "text", "text": "a"}],
                "stop_reason": "end_turn",
            },
        },
        answer="a",
    ),
    "Bedrock's error": line(
        {
            "custom_id": None,
            "recordId": "r1",
            "error": {"errorCode": 400, "errorMessage": "why"},
        },
        outcome="failed",
        cause="http_400",
        words="why",
    ),
    "a gateway's words of an error": error(
        "litellm.BadRequestError: " + json.dumps({"error": "why"}), cause="error", words="why"
    ),
    "a refusal without words": chat({"content": "a", "refusal": ""}, answer="a"),
    "an error status without words": line(
        {"response": {"status_code": 500, "body": ""}}, outcome="failed", cause="http_500"
    ),
    "texts in a list": chat({"content": ["a", "b"]}, answer="ab"),
}
