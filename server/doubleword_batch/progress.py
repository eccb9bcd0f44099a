"""Reports the progress of long work."""

from collections.abc import Callable

Progress = Callable[[float, float | None, str], None]
"""Called with (done, total or None, words); from any thread, so it must not block."""


def no_progress(_done: float, _total: float | None, _words: str) -> None:
    """A Progress that reports nothing."""
