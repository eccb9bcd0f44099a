"""The bodies of calls with plain JSON parameters, without the SDK's walk through its types."""

import json
from collections.abc import Callable
from typing import Any, cast

_plain_json = json.JSONEncoder(
    # A circular value ends in a RecursionError; checking for it would slow down all the others.
    check_circular=False,
    ensure_ascii=False,
    separators=(",", ":"),
    allow_nan=False,
)


def _encoder_made_once() -> Callable[[dict[str, Any]], str]:
    """Like `_plain_json.encode`, which creates the same C encoder anew for each value."""
    try:
        make_encoder = cast("Any", json.encoder).c_make_encoder
        pieces_of = make_encoder(
            markers=None,
            default=_plain_json.default,
            encoder=json.encoder.encode_basestring,
            indent=None,
            key_separator=_plain_json.key_separator,
            item_separator=_plain_json.item_separator,
            sort_keys=False,
            skipkeys=False,
            allow_nan=False,
        )
    except (AttributeError, TypeError):  # a Python without this encoder, or with another one
        return _plain_json.encode
    return lambda value: "".join(pieces_of(value, 0))


_as_json = _encoder_made_once()


def plain_body(params: dict[str, Any]) -> bytes | None:
    """The body of a call with plain JSON parameters; None for any other.

    The SDK then writes the body, or rejects it with its own error.
    """
    try:
        return _as_json(params).encode()
    except (TypeError, ValueError, RecursionError):
        return None
