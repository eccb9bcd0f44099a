"""Lines of other shapes: `/results`, Responses, Anthropic, Gemini, embeddings."""

import json

from result_lines.making import (
    CALL,
    GOOD,
    REASON,
    base64_of,
    body,
    line,
    vectors,
)

CASES = {
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
}
