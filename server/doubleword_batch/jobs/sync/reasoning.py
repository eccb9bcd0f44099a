"""Finds a model's reasoning where it is part of the answer's text."""

import re

from doubleword_batch.plain_text import is_blank

_TAG = r"(?:\w+:)?(?:think|thinking|thought|reasoning)"
_OF_HARMONY = r"<\|channel\|>(?:analysis|commentary)\b"
_BEGIN_OF_REASONING = re.compile(
    rf"\s*(?:<{_TAG}\s*>|\[think\]|◁think▷|<\|START_THINKING\|>"
    rf"|(?:<\|start\|>assistant)?{_OF_HARMONY})",
    re.IGNORECASE,
)
END_OF_REASONING = re.compile(
    rf"</\s*{_TAG}\s*>|\[/think\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final\b[^<\n]*(?:<\|constrain\|>\w*)?<\|message\|>",
    re.IGNORECASE,
)
"""Marks where a model's reasoning ends and its answer begins."""

END_OF_ANSWER = re.compile(r"\s*<\|(?:return|end)\|>\s*\Z")
"""Marks that a model's own format puts after an answer."""

FIRST_CHARACTERS = frozenset("<[◁ \t\r\n\f\v")
"""Marks that begin reasoning; few texts begin with any of these characters."""

VISIBLE_ENDS = frozenset(map(chr, range(ord("!"), ord("~") + 1))) - set(">]")
"""The last characters of nearly all texts: a text that ends with one of them is not empty."""


def has_no_answer(text: str) -> bool:
    """Whether a text has nothing visible, or nothing after the model's reasoning."""
    if text[-1:] in VISIBLE_ENDS:
        return False
    is_thought = ("/" in text or "|" in text) and is_blank(strip_reasoning(text))
    return is_thought or is_blank(text)


def strip_reasoning(text: str) -> str:
    """The answer after the model's reasoning; the whole text if there is no reasoning."""
    return END_OF_ANSWER.sub("", END_OF_REASONING.split(text)[-1])


def is_unfinished_reasoning(text: str) -> bool:
    """Whether a text begins with the model's reasoning and ends before the reasoning does."""
    return bool(_BEGIN_OF_REASONING.match(text)) and not END_OF_REASONING.search(text)
