"""Separates what a model thought before it answered, if that is in the text of the answer."""

from __future__ import annotations

import re

from batchkit.plain_text import is_blank

_THOUGHT = r"(?:\w+:)?(?:think|thinking|thought|reasoning)"
_OF_HARMONY = r"<\|channel\|>(?:analysis|commentary)\b"
_BEGIN_OF_REASONING = re.compile(
    rf"\s*(?:<{_THOUGHT}\s*>|\[think\]|◁think▷|<\|START_THINKING\|>"
    rf"|(?:<\|start\|>assistant)?{_OF_HARMONY})",
    re.IGNORECASE,
)
END_OF_REASONING = re.compile(
    rf"</\s*{_THOUGHT}\s*>|\[/think\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final\b[^<\n]*(?:<\|constrain\|>\w*)?<\|message\|>",
    re.IGNORECASE,
)
"""Where the model's thoughts end, and its answer begins."""

END_OF_ANSWER = re.compile(r"\s*<\|(?:return|end)\|>\s*\Z")
"""What a model's own format puts after an answer."""

FIRST_CHARACTERS = frozenset("<[◁ \t\r\n\f\v")
"""What comes before thoughts; few texts begin with any of these."""

VISIBLE_ENDS = frozenset(map(chr, range(ord("!"), ord("~") + 1))) - set(">]")
"""The last characters of nearly all texts: one that ends so has an answer."""


def has_no_answer(text: str) -> bool:
    """Whether a text shows nothing, or nothing after the model's thoughts."""
    if text[-1:] in VISIBLE_ENDS:
        return False
    is_thought = ("/" in text or "|" in text) and is_blank(strip_reasoning(text))
    return is_thought or is_blank(text)


def strip_reasoning(text: str) -> str:
    """The answer after the model's thoughts; the text itself if it has no thoughts."""
    return END_OF_ANSWER.sub("", END_OF_REASONING.split(text)[-1])


def is_unfinished_reasoning(text: str) -> bool:
    """Whether a text begins with the model's thoughts, and ends before they do."""
    return bool(_BEGIN_OF_REASONING.match(text)) and not END_OF_REASONING.search(text)
