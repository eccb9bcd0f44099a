"""Removes a key from what a server sends back, in whatever form it is echoed.

A proxy, a gateway or an error page repeats the request that it got: unchanged, escaped for JSON
(twice for a string within a string), for a URL or for HTML, or cut short. A server that
deliberately hides the key in its answer is out of scope: it has the key anyway.
"""

from __future__ import annotations

import re
from functools import cache

MASK = "***"
_SHORTEST_KEY = 6  # shorter ones would match ordinary words
_SHORTEST_PIECE = 12


def redacted(text: str, key: str) -> str:
    """A short text, such as an error, without the key, its escaped forms and its longer pieces."""
    if len(key) < _SHORTEST_KEY:
        return text
    shown = text.encode("utf-8", "surrogatepass").replace(key.encode(), MASK.encode())
    if any(sign in shown for sign in (b"\\", b"%", b"&#")):
        shown = _in_any_escapes(key).sub(MASK.encode(), shown)
    return _without_pieces(shown.decode("utf-8", "surrogatepass"), key)


def redacted_lines(lines: bytes, key: str) -> bytes:
    """Many lines of JSON without the key, also where JSON escapes of it would be decoded later."""
    if len(key) < _SHORTEST_KEY:
        return lines
    lines = lines.replace(key.encode(), MASK.encode())
    is_escaped = b"\\u00" in lines and _escape_of_a_character(key).search(lines)
    if is_escaped or ("/" in key and b"\\/" in lines):
        lines = _in_any_escapes(key).sub(MASK.encode(), lines)
    return lines


@cache
def _escape_of_a_character(key: str) -> re.Pattern[bytes]:
    """A quick check for escapes that honest text does not have: of characters of the key."""
    digits = b"|".join(sorted({_hex(bytes([byte])) for byte in key.encode()}))
    return re.compile(rb"\\u00(?:%b)" % digits)


@cache
def _in_any_escapes(key: str) -> re.Pattern[bytes]:
    """The key, with each character in any form."""
    return re.compile(b"".join(_in_any_form(bytes([byte])) for byte in key.encode()))


def _in_any_form(character: bytes) -> bytes:
    """The character itself or its escapes, with more backslashes for strings within strings.

    Their number is bounded: trying a long run of them from each position would take hours.
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
    """Its two hex digits, in either case."""
    return b"".join(
        b"[%b%b]" % (digit, digit.upper()) if digit.isalpha() else digit
        for digit in (character.hex()[:1].encode(), character.hex()[1:].encode())
    )


def _without_pieces(text: str, key: str) -> str:
    """The text without long pieces of the key, as when it was cut within the key."""
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
