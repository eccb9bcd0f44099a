"""Makes CSV cells that no spreadsheet takes for a formula, wherever it splits the line.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, also as full-width characters or
after blanks and invisible characters. If it expects semicolons, it ignores our commas and quotes
and splits at every semicolon, tab and line break, so each piece of a text may become a cell. The
skill's scripts follow the same rules (`batchkit/answer_table.py`).
"""

import re
from typing import Any

from doubleword_batch.sources.values import as_text

_SIGN = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_BLANK = (
    '[\\s"\0-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f'
    "\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_BEGINS = re.compile(f"(?:[\t\r]|(?:;|{_BLANK})*{_SIGN})")
_AFTER = {
    separator: re.compile(f"{separator}(?P<piece>(?:(?![;\t\r\n]){_BLANK})*{_SIGN}[^;\t\r\n]*)")
    for separator in ";\t\r\n"
}
_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?%?\s*")
_ITEM = re.compile(r"\s*[-+]\s")
_RULE = re.compile(r"\s*[-=+]{2,}\s*")
_CALL = re.compile(r"\w\s{0,9}\(")


class HarmlessCells:
    """Makes cells that no spreadsheet takes for a formula.

    Attributes:
        apostrophes: number of cells that got one, in front or before a piece.
    """

    def __init__(self) -> None:
        self.apostrophes = 0

    def __call__(self, value: Any) -> str:
        """The cell's text, with an apostrophe before every piece that could be run."""
        text = as_text(value)
        if not text or isinstance(value, int | float):
            return text
        harmless = text
        for separator, pattern in _AFTER.items():
            if separator in harmless:
                harmless = pattern.sub(_marked, harmless)
        if _BEGINS.match(text) and not _NUMBER.fullmatch(text):
            harmless = "'" + harmless
        self.apostrophes += harmless != text
        return harmless


def _marked(found: re.Match[str]) -> str:
    separator, piece = found[0][0], found["piece"]
    is_text = separator in "\r\n" and _is_line_of_text(piece)
    return found[0] if is_text or _NUMBER.fullmatch(piece) else f"{separator}'{piece}"


def _is_line_of_text(piece: str) -> bool:
    """Whether a piece is a list item that calls no function, or a line of signs such as `---`."""
    calls = bool(_CALL.search(piece)) or ("|" in piece and "!" in piece)
    return bool(_RULE.fullmatch(piece)) or (bool(_ITEM.match(piece)) and not calls)
