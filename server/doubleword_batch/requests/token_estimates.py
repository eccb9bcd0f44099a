"""How many tokens requests will read and write: the measure for cost estimates and caps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.requests.lines import read_head
from doubleword_batch.requests.spec import EMBEDDINGS, OUTPUT_LIMITS, RequestSpec

BYTES_PER_TOKEN = 4
"""A rule of thumb, which Doubleword's server uses as well."""

TOKENS_PER_IMAGE = 1_000
"""A guess: about what models of 2025 and 2026 count for an image of one megapixel."""

_OUTPUT_PER_INPUT = 1.1
_GUESSED_OUTPUT_TOKENS = 1024


def estimate_output_tokens(spec: RequestSpec, requests: int, input_tokens: int) -> int:
    """Estimate the tokens of all answers.

    With a limit in `params` (max_tokens or another of `OUTPUT_LIMITS`), each of a request's `n`
    choices counts as that limit, which is the most there can be. Without a limit, the estimate is
    1.1 times the input, as in Doubleword's server, but at most 1,024 a request. Embeddings have no
    output tokens.
    """
    if spec.endpoint == EMBEDDINGS:
        return 0
    return _output_tokens(spec.params, requests, input_tokens)


def estimate_file_tokens(path: Path) -> tuple[int, int]:
    """Estimate the input and output tokens of a request file from its lines.

    Input tokens are the bytes of the lines / 4; output tokens are estimated line by line as in
    `estimate_output_tokens`.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: a line is not a request.
    """
    input_tokens = output_tokens = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            head = read_head(line)
            tokens = len(line) // BYTES_PER_TOKEN
            input_tokens += tokens
            if head.url != EMBEDDINGS:
                output_tokens += _output_tokens(msgspec.structs.asdict(head.body), 1, tokens)
    return input_tokens, output_tokens


def _output_tokens(params: Mapping[str, Any], requests: int, input_tokens: int) -> int:
    """The output tokens of requests with these parameters; the largest of several limits counts."""
    choices = _whole(params.get("n")) or 1
    limits = [limit for name in OUTPUT_LIMITS if (limit := _whole(params.get(name)))]
    if limits:
        return max(limits) * requests * choices
    guess = min(int(_OUTPUT_PER_INPUT * input_tokens), _GUESSED_OUTPUT_TOKENS * requests)
    return guess * choices


def _whole(value: Any) -> int:
    """The value if it is a positive whole number, else 0; booleans are not numbers."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
