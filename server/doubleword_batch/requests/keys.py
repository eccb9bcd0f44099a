"""What a request asks, as a key of 16 bytes: equal keys, equal requests.

A key is made of whom is asked, where, and the body; neither of the custom_id nor of the window. It
is the same whatever made the request, a table or a single call. The order of the body's own fields
says nothing. Inside of them order counts: that of a schema's properties changes what a model
answers.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, cast

import msgspec

KEY_BYTES = 16

_encode = msgspec.json.Encoder().encode


class BodyPieces(NamedTuple):
    """A body as compact JSON, cut at the places where bodies differ.

    Attributes:
        begin: what stands before the first place.
        places: (name, what stands behind it) of each place.
    """

    begin: bytes
    places: tuple[tuple[str, bytes], ...]


class RequestKeys:
    """Makes the keys of requests to one endpoint of one server.

    Args:
        provider: the profile's name.
        server: which server of that provider: its base URL, or `local`.
        endpoint: the `url` of the request lines.
    """

    def __init__(self, provider: str, server: str, endpoint: str) -> None:
        self._asked = b"\0".join((provider.encode(), server.encode(), endpoint.encode(), b""))

    def maker(self, body: BodyPieces) -> Callable[[Mapping[str, bytes]], bytes]:
        """Make a function that gives the key of a body by what goes into its places.

        Args:
            body: an object whose fields are in order.
        """
        begun = sha256(self._asked + body.begin)  # what is the same in all bodies is hashed once

        def key_of(texts: Mapping[str, bytes]) -> bytes:
            key = begun.copy()
            for name, after in body.places:
                key.update(texts[name] + after)
            return key.digest()[:KEY_BYTES]

        return key_of

    def of_body(self, body: bytes) -> bytes:
        """The key of a body as JSON, however it is written; of what no parser reads, as it is."""
        try:
            decoded = msgspec.json.decode(body)
            if isinstance(decoded, dict):
                return self.of_fields(cast("dict[str, Any]", decoded))
        except (ValueError, RecursionError):
            pass
        return sha256(self._asked + body).digest()[:KEY_BYTES]

    def of_fields(self, fields: dict[str, Any]) -> bytes:
        """The key of a body by its fields."""
        body = _encode({name: fields[name] for name in sorted(fields)})
        return sha256(self._asked + body).digest()[:KEY_BYTES]
