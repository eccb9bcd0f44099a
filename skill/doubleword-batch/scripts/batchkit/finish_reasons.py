"""Why a model stopped, in every server's words: OpenAI's, Anthropic's, Gemini's, Mistral's, ...

A word that is in none of the sets is unknown, and is shown unchanged.
"""

from __future__ import annotations

import re
from typing import Any

_COMPLETE = frozenset(
    {
        "", "null", "none", "stop", "stopped", "stop_sequence", "stop_token", "end_turn", "end",
        "eos", "eos_token", "endoftext", "end_of_text", "end_of_turn", "complete", "completed",
        "done", "finish", "finished", "success", "succeeded", "tool_call", "tool_calls",
        "tool_use", "function_call", "function_calls", "word", "normal", "eos_found", "eos_id",
        "end_id", "stop_criteria_met", "stop_words", "stop_word", "stop_str", "stop_string",
        "stop_string_found", "im_end", "eot_id", "eom_id", "stop_before",
        "s",  # </s>
    }
)  # fmt: skip
_CUT = frozenset(
    {
        "length", "length_limit", "max_length", "max_tokens", "max_output_tokens",
        "max_completion_tokens", "max_new_tokens", "max_token", "token_limit", "limit", "truncated",
        "incomplete", "max_tokens_reached", "output_limit", "max_output", "max_seq_len",
        "max_predicted_tokens_reached", "max_len", "length_exceeded", "length_reached",
        "maximum_tokens",
    }
)  # fmt: skip
_FULL = frozenset(
    {
        "model_length", "model_context_window_exceeded", "context_length", "error_limit",
        "context_length_exceeded", "context_window_exceeded", "max_context_length",
        "context_length_reached", "max_context",
    }
)  # fmt: skip
_REFUSED = frozenset(
    {
        "content_filter", "content_filtered", "content_filter_stop", "safety", "recitation",
        "language", "blocklist", "prohibited_content", "spii", "refusal", "refused", "sensitive",
        "guardrail_intervened", "guardrails", "error_toxic", "blocked", "moderation",
        "moderation_blocked", "policy_violation", "image_safety", "image_prohibited_content",
        "image_recitation", "model_armor", "content_policy", "content_policy_violation",
    }
)  # fmt: skip
_FAILED = frozenset(
    {
        "error", "errored", "exception", "failed", "failure", "abort", "aborted", "cancel",
        "cancelled", "canceled", "timeout", "timed_out", "expired", "queued", "in_progress",
        "processing", "starting", "running", "pending",
        "network_error", "server_error", "internal_error", "model_error", "user_cancel",
        "insufficient_system_resource", "overloaded", "malformed_function_call",
        "malformed_tool_use", "malformed_model_output", "malformed_response",
        "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature", "user_stopped",
        "model_unloaded", "not_finished", "time_limit",
    }
)  # fmt: skip
_SETS: tuple[tuple[frozenset[str], str], ...] = (
    (_COMPLETE, "complete"),
    (_CUT, "cut"),
    (_FULL, "full"),
    (_REFUSED, "refused"),
    (_FAILED, "failed"),
)
_BEFORE_THE_WORD = re.compile(r".*[:.]", re.DOTALL)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MOST_CHARACTERS = 200


def reason_ending(reason: Any) -> str:
    """The meaning of a finish reason, in one word.

    complete: the answer is whole. cut: the token limit ended it. full: the model's context ended
    it. refused: the model or a filter declined. failed: the server gave up. Otherwise: unknown.
    """
    word = reason_word(reason)
    for words, ending in _SETS:
        if word in words:
            return ending
    return "unknown"


def reason_word(reason: Any) -> str:
    """A finish reason as part of a cause; for `content_filter: SAFETY`, the last word."""
    text = reason_text(reason)
    return slug(_BEFORE_THE_WORD.sub("", text)) or slug(text)


def reason_text(reason: Any) -> str:
    """A finish reason as text; some servers wrap it in an object, or send a number."""
    if isinstance(reason, list) and len(reason) == 1:
        reason = reason[0]
    if isinstance(reason, dict):
        reason = reason.get("reason", reason.get("type"))
    if reason is None or isinstance(reason, (bool, list, dict)):
        return ""
    return str(reason)[:_MOST_CHARACTERS]


def slug(text: str) -> str:
    """A server's word as part of a cause: `MAX_TOKENS`, `FinishReason.maxTokens`: max_tokens."""
    text = text.removeprefix("FinishReason.").removeprefix("FINISH_").removeprefix("REASON_")
    if not text.isupper():
        text = _HUMP.sub("_", text)
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())[:40].strip("_")
