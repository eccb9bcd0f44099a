"""How text from others is shown: the one place that decides which characters a reader sees.

Rows, models, servers and file names bring characters that are invisible or that move visible ones:
control characters, marks that change the direction of writing, tags and selectors that hide text
for those who read bytes. Each run of them is shown as one U+FFFD, so that agents and people see the
same, and see that something was there. Tables and request files keep the original text.
"""

from __future__ import annotations

import re

_MARK = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks, for Unicode, that are drawn as nothing."""

_SELECTORS = frozenset("\ufe0e\ufe0f")
_JOINERS = frozenset("\u200c\u200d")
"""Needed inside words of some scripts and inside emoji: a single one is kept after visible text."""


def one_line(text: str) -> str:
    """The text on one line: each blank and line break a space, invisible characters U+FFFD."""
    return _plain(text)


def is_blank(text: str) -> bool:
    """Whether nothing in a text is visible: only blanks, controls, marks without width."""
    if "!" <= text[:1] <= "~":  # nearly every text
        return False
    return not any(c.isprintable() and c != " " and not _UNSEEN.match(c) for c in text)


def is_plain(text: str) -> bool:
    """Whether a text is shown unchanged."""
    return one_line(text) == text


def _plain(text: str) -> str:
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    shown: list[str] = []
    before = " "
    for character in text:
        if character.isspace():
            now = " "
        elif character in _JOINERS or character in _SELECTORS:
            allowed = _SELECTORS if character in _JOINERS else ""
            is_behind_something = not before.isspace() and before != _MARK
            is_one = before not in _JOINERS and (before not in _SELECTORS or before in allowed)
            now = character if is_behind_something and is_one else _MARK
        elif not character.isprintable() or _UNSEEN.match(character):
            now = _MARK
        else:
            now = character
        if now != _MARK or before != _MARK:
            shown.append(now)
        before = now
    return "".join(shown)
