"""Answers of chat as servers write them: content, tools, ends, several answers."""

from result_lines.making import CALL, body, call, chat, choice, ends

CASES = {
    # Content
    "pieces": chat({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, answer="ab"),
    "thoughts before the text": chat(
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]},
        answer="a",
    ),
    "an object as content": chat({"content": {"label": "good"}}, answer='{"label":"good"}'),
    "a spoken answer": chat({"content": None, "audio": {"transcript": "said"}}, answer="said"),
    "white space alone": chat(" \n\t", outcome="failed", cause="empty_answer", answer=None),
    "nothing": chat({"content": None}, outcome="failed", cause="empty_answer"),
    "no choice": body({"choices": []}, outcome="failed", cause="empty_answer"),
    "a refusal": chat(
        {"content": None, "refusal": "I will not"}, outcome="refused", cause="refusal", words="will"
    ),
    "completions": body({"choices": [{"text": "a", "finish_reason": "stop"}]}, answer="a"),
    "no known shape": body(
        {"verdict": "good"}, outcome="invalid", cause="unknown_body", answer='{"verdict":"good"}'
    ),
    # Tools
    "a tool call": chat(call('{"x":1}'), "tool_calls", answer=CALL),
    "a tool call without parameters": chat(call(""), answer=[{"name": "f", "arguments": {}}]),
    "the legacy function_call": chat(
        {"content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}},
        "function_call",
        answer=CALL,
    ),
    "arguments that are not JSON": chat(
        call('{"x":'),
        "tool_calls",
        outcome="invalid",
        cause="tool_arguments",
        answer=[{"name": "f", "arguments": '{"x":'}],
    ),
    # Ends
    "length": chat("so far", "length", outcome="truncated", cause="length"),
    "Anthropic's limit": ends("max_tokens", "truncated", "length"),
    "Gemini's limit": ends("MAX_TOKENS", "truncated", "length"),
    "Mistral's limit": ends("model_length", "truncated", "context_length"),
    "the filter": chat("so far", "content_filter", outcome="refused", cause="content_filter"),
    "Gemini's filter": ends("SAFETY", "refused", "content_filter"),
    "Zhipu's filter": ends("sensitive", "refused", "content_filter"),
    "an error": ends("error", "failed", "finish_error"),
    "vLLM's abort": ends("abort", "failed", "finish_abort"),
    "DeepSeek's lack of resources": ends(
        "insufficient_system_resource", "failed", "finish_insufficient_system_resource"
    ),
    "an unknown end": ends("comet_strike", "invalid", "finish_comet_strike"),
    "an end of sequence": chat("a", "eos_token"),
    "STOP": chat("a", "STOP"),
    "no end": chat("a", None),
    "an end as an object": chat("a", {"reason": "length"}, outcome="truncated", cause="length"),
    # Several answers
    "two choices": body(
        {"choices": [choice("b", index=1)["choices"][0], choice("a")["choices"][0]]}, answer="a"
    ),
    "two choices, one of them cut": body(
        {"choices": [choice("a")["choices"][0], choice("b", "length", index=1)["choices"][0]]},
        outcome="truncated",
        cause="length",
        answer="a",
        words="answer 2 of 2",
    ),
}
