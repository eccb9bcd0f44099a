"""What a request asks, as a key of 16 bytes: equal keys, equal requests.

A key is made of whom is asked, where, and the body; neither of the custom_id nor of the window. It
is the same whatever made the request, a table or a single call. The order of the body's own fields
says nothing. Inside of them order counts: that of a schema's properties changes what a model
answers.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, cast

import msgspec

KEY_BYTES = 16

_encode = msgspec.json.Encoder().encode


class RequestKeys:
    """Makes the keys of requests to one endpoint of one server.

    Args:
        provider: the profile's name.
        server: which server of that provider: its base URL, or `local`.
        endpoint: the `url` of the request lines.
    """

    def __init__(self, provider: str, server: str, endpoint: str) -> None:
        self._asked = b"\0".join((provider.encode(), server.encode(), endpoint.encode(), b""))

    def maker(self, body: bytes, names: Sequence[bytes]) -> Callable[[dict[bytes, bytes]], bytes]:
        """Make a function that gives the key of a body by the fields that differ.

        Args:
            body: a template of bytes: an object whose fields are in order, as compact JSON, with a
                place such as `%(messages)b` for each of those fields.
            names: of those fields, in the order of their places.
        """
        # JSON holds no null byte. What is the same in all bodies is hashed once.
        begin, *texts = (body % dict.fromkeys(names, b"\0")).split(b"\0")
        begun = sha256(self._asked + begin)
        places = tuple(zip(names, texts, strict=True))

        def key_of(fields: dict[bytes, bytes]) -> bytes:
            key = begun.copy()
            for name, text in places:
                key.update(fields[name] + text)
            return key.digest()[:KEY_BYTES]

        if len(places) != 1:
            return key_of
        only, rest = places[0]

        def key_of_one(fields: dict[bytes, bytes]) -> bytes:  # every row comes by here
            key = begun.copy()
            key.update(fields[only] + rest)
            return key.digest()[:KEY_BYTES]

        return key_of_one

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
