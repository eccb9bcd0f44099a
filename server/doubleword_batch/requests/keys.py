"""Keys of 16 bytes that say what a request asks: requests with the same key are equal.

A key covers the provider, its server, the endpoint and the body, but not the custom_id or the
completion window. It does not matter whether the request came from a table or from a single call,
in which order the body's own fields stand, whether a field is null or missing, or how a number is
written: 1, 1.0 and 1e0 are the same. Within a field order matters: the order of a schema's
properties changes what a model answers. A body without such numbers or nulls has the same key as
in earlier versions.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, cast

import msgspec

KEY_BYTES = 16

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class BodyPieces(NamedTuple):
    """A body as compact JSON, cut at the places where bodies differ.

    Attributes:
        begin: the text before the first place.
        places: (name, the text after it) of each place.
    """

    begin: bytes
    places: tuple[tuple[str, bytes], ...]


class CanonicalBody(bytes):
    """A body whose bytes are hashed as they are: its fields are in order, and none is spelt oddly.

    Only `plain_body` makes one.
    """

    __slots__ = ()


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
        """Make a function that computes a body's key from the texts for its places.

        Args:
            body: an object whose fields are sorted.
        """
        begun = sha256(self._asked + body.begin)  # the part common to all bodies is hashed once

        def key_of(texts: Mapping[str, bytes]) -> bytes:
            key = begun.copy()
            for name, after in body.places:
                key.update(texts[name] + after)
            return key.digest()[:KEY_BYTES]

        return key_of

    def keys_of_body(self, body: bytes) -> tuple[bytes, bytes | None]:
        """The key of a JSON body, and its key in earlier versions if that differs, else None.

        See `keys_of_fields`. A body that cannot be parsed is hashed as it is.
        """
        if type(body) is CanonicalBody:
            return sha256(self._asked + body).digest()[:KEY_BYTES], None
        try:
            fields = _decode_without_whole_floats(body)
            if None in fields.values():
                return self._of_sorted(_without_nulls(fields)), self._of_sorted(fields)
            return self._of_sorted(fields), None
        except _WholeFloatError:
            return self._keys_of_decoded(body)
        except (ValueError, RecursionError):
            return self._hashed(body), None

    def _keys_of_decoded(self, body: bytes) -> tuple[bytes, bytes | None]:
        try:
            return self.keys_of_fields(_decode(body))
        except (ValueError, RecursionError):
            return self._hashed(body), None

    def of_fields(self, fields: dict[str, Any]) -> bytes:
        """The key of a decoded body."""
        return self.keys_of_fields(fields)[0]

    def keys_of_fields(self, fields: dict[str, Any]) -> tuple[bytes, bytes | None]:
        """The key of a decoded body, and its key in earlier versions if that differs, else None.

        Earlier versions told 0 from 0.0 and null from a missing field; their stores hold such keys.
        """
        plain = by_value(fields)
        key = self._of_sorted(plain)
        return key, None if plain is fields else self._of_sorted(fields)

    def _of_sorted(self, fields: dict[str, Any]) -> bytes:
        asked = self._asked + _encode(dict(sorted(fields.items())))
        return sha256(asked).digest()[:KEY_BYTES]

    def _hashed(self, body: bytes) -> bytes:
        return sha256(self._asked + body).digest()[:KEY_BYTES]


def plain_body(fields: dict[str, Any]) -> bytes | None:
    """Fields that hold only JSON values as a compact body, in their order; None for others.

    The encoder also takes values for which JSON has no type, such as dates, bytes and NaN. So what
    it wrote is read again, and has to be equal to the fields.

    Returns:
        A `CanonicalBody`, unless a field is null or a number is a float without a fraction.
    """
    try:
        body = _encode(dict(sorted(fields.items())))
        is_canonical = None not in fields.values()
        try:
            is_plain = _decode_without_whole_floats(body) == fields
        except _WholeFloatError:
            is_plain, is_canonical = _decode(body) == fields, False
    except (TypeError, ValueError, RecursionError, msgspec.EncodeError):
        return None
    if not is_plain:
        return None
    return CanonicalBody(body) if is_canonical else body


def by_value(fields: dict[str, Any]) -> dict[str, Any]:
    """A decoded body without its null fields, and with whole floats as integers.

    Returns:
        The same object if there is nothing to change.
    """
    plain = _numbers_by_value(fields) if _has_whole_floats(fields.values()) else fields
    return _without_nulls(plain) if None in plain.values() else plain


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


class _WholeFloatError(Exception):
    """A body holds a whole float such as 1.0, or a number too large for a float."""


def _float_with_fraction(text: str) -> float:
    value = float(text)
    if value.is_integer() or math.isinf(value):
        raise _WholeFloatError
    return value


# Few bodies hold a float, and for those that hold none the hook costs nothing.
_decode_without_whole_floats = msgspec.json.Decoder(
    dict[str, Any], float_hook=_float_with_fraction
).decode


def _has_whole_floats(values: Iterable[Any]) -> bool:
    """Whether a whole float such as 1.0 is anywhere in the values."""
    for value in values:
        if type(value) is str:
            continue
        if type(value) is dict:
            found = _has_whole_floats(cast("dict[str, Any]", value).values())
        elif type(value) is list:
            found = _has_whole_floats(cast("list[Any]", value))
        else:
            found = type(value) is float and value.is_integer()
        if found:
            return True
    return False


def _numbers_by_value(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: _numbers_by_value(field) for name, field in fields.items()}
    if isinstance(value, list):
        return [_numbers_by_value(item) for item in cast("list[Any]", value)]
    return value
