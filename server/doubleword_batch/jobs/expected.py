"""What a request file will cost in tokens, by its own lines: the measure for caps.

Input is bytes / 4; output is each line's own limit, or the estimate that a build makes without one.
"""

from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.models import ENDPOINTS

_EMBEDDINGS = ENDPOINTS[1]


class _Body(msgspec.Struct):
    model: str = ""
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None


class RequestHead(msgspec.Struct):
    """What is read of a request line: who, where, and how much it may write."""

    custom_id: str = ""
    url: str = ""
    body: _Body = msgspec.field(default_factory=_Body)


read_head = msgspec.json.Decoder(RequestHead).decode


def expected_tokens(path: Path) -> tuple[int, int]:
    """Input and output tokens of all lines of a request file."""
    from doubleword_batch.requests.build import output_tokens_by_params

    read = wrote = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            head = read_head(line)
            tokens = len(line) // 4
            read += tokens
            if head.url != _EMBEDDINGS:
                wrote += output_tokens_by_params(msgspec.structs.asdict(head.body), 1, tokens)
    return read, wrote
