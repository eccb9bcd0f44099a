"""Half a character in a message: hosts send it, and the SDK answers no message that has one.

A text that JavaScript cut within an emoji is valid JSON with one half of a surrogate pair in an
escape. It becomes U+FFFD here, before anything reads the message.
"""

import re

_HIGH, _LOW, _HEX = rb"u[dD][89abAB]", rb"u[dD][c-fC-F]", rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    # of a block's end: what may go on in the next one, as a whole half does
    rb"(?P<unfinished>\\(?:u(?:[dD](?:[89a-fA-F](?:%(x)s)?)?)?)?\Z"
    rb"|\\%(high)s%(x)s{2}(?:\\(?:u(?:[dD](?:[c-fC-F](?:%(x)s)?)?)?)?)?\Z)"
    rb"|\\%(high)s%(x)s{2}\\%(low)s%(x)s{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F]%(x)s{2})"
    rb"|\\."  # any other, so that the second of two backslashes begins none
    % {b"high": _HIGH, b"low": _LOW, b"x": _HEX},
    re.DOTALL,
)


class WholeCharacters:
    """Mends blocks of a stream of JSON lines, wherever the blocks are cut."""

    def __init__(self) -> None:
        self._held = b""

    def of(self, block: bytes) -> bytes:
        """The next bytes to pass on; an escape that may go on in the next block is held back."""
        data, self._held = self._held + block, b""
        return _ESCAPE.sub(self._mended, data) if b"\\" in data else data

    def _mended(self, found: re.Match[bytes]) -> bytes:
        if found["half"]:
            return b"\\ufffd"
        if found["unfinished"]:
            self._held = found[0]
            return b""
        return found[0]
