"""The limits of a request file, as Doubleword documents them; the server has the last word."""

from __future__ import annotations

from typing import NamedTuple

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"

ENDPOINTS = (CHAT, EMBEDDINGS, RESPONSES)
"""Endpoints for which requests can be made from a table."""

ALSO_TAKEN = ("/v1/completions", "/v1/messages")
"""Further endpoints that ready request lines may name."""


class Limits(NamedTuple):
    """Limits of a request file."""

    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_request_bytes: int = 10_485_760
    max_custom_id_bytes: int = 64
