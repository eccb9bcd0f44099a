"""What a request file may hold, as Doubleword documents it; the server's refusal is the truth."""

from __future__ import annotations

from typing import NamedTuple

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"

ENDPOINTS = (CHAT, EMBEDDINGS, RESPONSES)
"""Endpoints that a table can be turned into requests for."""

ALSO_TAKEN = ("/v1/completions", "/v1/messages")
"""Endpoints that ready request lines may name beside those."""


class Limits(NamedTuple):
    """Sizes of a request file."""

    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_request_bytes: int = 10_485_760
    max_custom_id_bytes: int = 64
