"""Takes a key out of what a server sends back, however the echo is written.

A proxy, a gateway or a page of errors repeats the request that it got: as it was, in JSON's escapes
(once more in a text within a text), in a URL's or a page's, or cut short. A server that means to
hide a key is another matter: it has the key already.
"""

from __future__ import annotations

import re
from functools import cache

MASK = "***"
_SHORTEST_KEY = 6  # below that it would eat ordinary words
_SHORTEST_PIECE = 12


def redacted(text: str, key: str) -> str:
    """A short text, such as an error, without the key, its escapes and its longer pieces."""
    if len(key) < _SHORTEST_KEY:
        return text
    shown = text.encode("utf-8", "surrogatepass").replace(key.encode(), MASK.encode())
    if any(sign in shown for sign in (b"\\", b"%", b"&#")):
        shown = _in_any_escapes(key).sub(MASK.encode(), shown)
    return _without_pieces(shown.decode("utf-8", "surrogatepass"), key)


def redacted_lines(lines: bytes, key: str) -> bytes:
    """Much JSON without the key, as it is or in JSON's own escapes, which reading it would undo."""
    if len(key) < _SHORTEST_KEY:
        return lines
    lines = lines.replace(key.encode(), MASK.encode())
    is_escaped = b"\\u00" in lines and _escape_of_a_character(key).search(lines)
    if is_escaped or ("/" in key and b"\\/" in lines):
        lines = _in_any_escapes(key).sub(MASK.encode(), lines)
    return lines


@cache
def _escape_of_a_character(key: str) -> re.Pattern[bytes]:
    """Quick to look for, and honest text has none: what is escaped there stands in no key."""
    digits = b"|".join(sorted({_hex(bytes([byte])) for byte in key.encode()}))
    return re.compile(rb"\\u00(?:%b)" % digits)


@cache
def _in_any_escapes(key: str) -> re.Pattern[bytes]:
    """The key, each of its characters in any form."""
    return re.compile(b"".join(_in_any_form(bytes([byte])) for byte in key.encode()))


def _in_any_form(character: bytes) -> bytes:
    """As it is and in escapes; where the text stands in another text, so does each backslash.

    Their number is bounded: to look through a long run of them from each of its places takes hours.
    """
    digits = _hex(character)
    slash = rb"\\{0,16}" if character == b"/" else b""
    return b"(?:%b%b|%b|%b|%b)" % (
        *(slash, re.escape(character)),
        rb"\\{1,16}(?:u00|x)" + digits,
        b"%" + digits,
        b"&#(?:0*%d|[xX]0*%b);?" % (ord(character), digits),
    )


def _hex(character: bytes) -> bytes:
    """Its two digits, in either case."""
    return b"".join(
        b"[%b%b]" % (digit, digit.upper()) if digit.isalpha() else digit
        for digit in (character.hex()[:1].encode(), character.hex()[1:].encode())
    )


def _without_pieces(text: str, key: str) -> str:
    """A text cut within the key, or that shows much of it, without that."""
    size = _SHORTEST_PIECE
    if len(key) <= size:
        return text
    pieces = {key[at : at + size] for at in range(len(key) - size + 1)}
    shown: list[str] = []
    at = 0
    while at < len(text):
        if text[at : at + size] not in pieces:
            shown.append(text[at])
            at += 1
            continue
        end = at + size
        while text[end - size + 1 : end + 1] in pieces and end < len(text):
            end += 1
        shown.append(MASK)
        at = end
    return "".join(shown)
