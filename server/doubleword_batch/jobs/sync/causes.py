"""What to do about each cause, for people and agents."""

_FAULTS_OF_ROWS = (
    "invalid_image",
    "missing_value",
    "not_utf8",
    "malformed_row",
    "invalid_template",
    "file_not_found",
    "outside_roots",
    "not_readable",
)
"""Causes of rows that could not become a request: codes of errors, where they are left out."""

UNREADABLE = "unreadable"
"""The cause of rows that were given up since no line of their files can be read."""

_ADVICE = {
    "length": "The answer was cut by the token limit: retry these rows with a larger max_tokens.",
    "schema": "The answer does not fit the response_schema: retry, or use a stronger model.",
    "tool_call": "The model called a tool in place of answering: offer no tools, or reword.",
    "tool_arguments": "A tool call's arguments are not JSON: retry, or use a stronger model.",
    "fenced": "The JSON is inside a code fence, which DOUBLEWORD_BATCH_STRICT_JSON forbids: retry.",
    "think_prefix": "The JSON follows the model's thoughts, which "
    "DOUBLEWORD_BATCH_STRICT_JSON forbids: retry.",
    "open_thoughts": "The text ends within the model's thoughts: retry, with fewer of them if the "
    "model can be told so.",
    "unknown_body": "The response has a shape that is not known here; it is the row's answer.",
    "embedding": "The embedding is neither numbers nor base64 of floats; it is kept as it came.",
    "refusal": "The model declined: reword the prompt, or accept it.",
    "content_filter": "The provider's filter stopped the answer: reword the prompt, or accept it.",
    "context_length": "The request is longer than the model's context: shorten those rows.",
    "too_large": "The request is over the provider's size limit: shorten those rows.",
    "blank": "Nothing to ask about in the row: it was not sent.",
    "empty_answer": "The model's answer was empty: retry these rows.",
    "timeout": "The model did not answer in time: retry these rows.",
    "network": "The provider could not reach the model: retry these rows.",
    "terminated": "The provider stopped the request: retry these rows.",
    "expired": "The window ended before the row ran: retry these rows.",
    "cancelled": "The batch was cancelled before the row ran: retry if the rows are wanted.",
    "missing": "The provider has no line for the row: fetch again later, then retry these rows.",
    UNREADABLE: "The answers cannot be read here, or the provider never gave them: fetch again "
    "later, or retry, which is paid again.",
    "line_too_long": "The answer is too long to be read; the provider keeps it. Ask for less.",
    "batch_failed": "The provider refused the batch as a whole: the job's status says why.",
    "http_400": "The server refuses these requests as they stand: fix params or rows, then retry.",
    "http_401": "The model's server refuses the key: check the account.",
    "http_402": "The account has no credit: add some, then retry.",
    "http_403": "The key may not use this model: choose another.",
    "http_404": "The server does not have this model: choose another from the list.",
    "http_413": "The request is too large: shorten those rows.",
    "http_422": "The server refuses these requests as they stand: fix params or rows, then retry.",
    "http_429": "The model was overloaded: retry these rows later.",
    **dict.fromkeys(
        _FAULTS_OF_ROWS,
        "The row could not be made a request: correct the source, then build it anew.",
    ),
}


def advice(cause: str) -> str:
    """One sentence on what to do about rows with this cause."""
    if cause in _ADVICE:
        return _ADVICE[cause]
    if cause.startswith("http_5"):
        return "The model's server failed: retry these rows."
    if cause.startswith("finish_"):
        return "The answer ended in an unusual way: look at it, then retry these rows."
    return "Read the message; retry these rows if it looks temporary."


_LASTING = frozenset(
    {
        "context_length",
        "too_large",
        "blank",
        "batch_failed",
        "line_too_long",
        UNREADABLE,
        "request_builder",
        "refusal",
        "content_filter",
        "length",
        *_FAULTS_OF_ROWS,
    }
)
_PASSING_STATUSES = frozenset({"http_408", "http_409", "http_425", "http_429"})


def may_pass(cause: str) -> bool:
    """Whether the same request may succeed later: a repeat can cure no other cause."""
    if cause.startswith("http_4"):
        return cause in _PASSING_STATUSES
    return cause not in _LASTING
