"""What long work tells while it runs."""

from collections.abc import Callable

Progress = Callable[[float, float | None, str], None]
"""Told (done, total or None, words); may be called from any thread and must not block."""


def no_progress(_done: float, _total: float | None, _words: str) -> None:
    """A Progress that tells nobody."""
