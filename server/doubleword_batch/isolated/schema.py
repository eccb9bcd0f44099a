"""Checks answers against a JSON Schema in a child process, which limits time and memory.

Patterns without look-around and back references match in linear time there; everything else, and
schemas that branch endlessly, is stopped by a time limit.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from doubleword_batch.isolated.process import ChildEndedError, ChildProcess
from doubleword_batch.plain_text import one_line

MEMORY_BYTES = 512 << 20

_OPEN_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_SLOW_SECONDS = 30.0  # for all slow answers together; after that each one gets
_HURRIED_SECONDS = 0.2

TOO_SLOW = "the check of the answer took too long"
TOO_LARGE = "the check of the answer took too much memory"


class InvalidSchemaError(Exception):
    """It is not a schema against which answers can be checked.

    Attributes:
        place: where, such as `$.properties.label`.
        reason: what is wrong there; the text may quote the schema.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class SchemaChecker:
    """Checks answers against one schema; safe to use from several threads.

    The first check starts the child. Use it as a context manager, or `close` it.

    Args:
        schema: JSON Schema, draft 2020-12.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._child: ChildProcess | None = None
        self._invalid: InvalidSchemaError | None = None
        self._lock = threading.Lock()
        self._left_seconds = _SLOW_SECONDS

    def open(self) -> None:
        """Start the child and compile the schema; references are resolved now.

        Raises:
            InvalidSchemaError: it is not a schema, a reference in it leads nowhere or outside, or
                compiling it takes too much time or memory.
            StoreError: code `no_process`.
        """
        with self._lock:
            self._opened()

    def __call__(self, answer: Any) -> str | None:
        """What is wrong with one answer; see `problems`."""
        return self.problems([answer])[0]

    def problems(self, answers: Sequence[Any]) -> list[str | None]:
        """What is wrong with each answer; None for those that follow the schema.

        If the check itself fails, that is reported as the answer's problem.

        Args:
            answers: JSON values.

        Raises:
            StoreError: code `no_process`.
        """
        texts = [_text_of(answer) for answer in answers]
        to_check = [text for text in texts if text is not None]
        with self._lock:
            checked = iter([wrong and one_line(wrong) for wrong in self._checked(to_check)])
        return [
            "the answer is nested too deeply to be checked" if text is None else next(checked)
            for text in texts
        ]

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _checked(self, texts: list[str]) -> Iterator[str | None]:
        position, one_by_one = 0, False
        while position < len(texts):
            try:
                child = self._opened()
            except InvalidSchemaError as error:  # from before schemas were checked
                for _ in texts[position:]:
                    yield f"the schema cannot be used: {error.reason}"
                return
            until = position + 1 if one_by_one else len(texts)
            try:
                child.ask({"do": "check", "answers": texts[position:until]}, seconds=_OPEN_SECONDS)
                while position < until:
                    found = child.frame(seconds=self._seconds())["wrong"]
                    position += len(found)
                    yield from found
            except ChildEndedError as ended:
                self._child = None
                if not one_by_one:  # checking each answer alone shows which one it was
                    one_by_one = True
                    continue
                if ended.reason == "too_slow":
                    self._left_seconds -= self._seconds()
                yield TOO_SLOW if ended.reason == "too_slow" else TOO_LARGE
                position, one_by_one = position + 1, False

    def _seconds(self) -> float:
        return _ANSWER_SECONDS if self._left_seconds > 0 else _HURRIED_SECONDS

    def _opened(self) -> ChildProcess:
        if self._child is not None:
            return self._child
        if self._invalid is not None:
            raise self._invalid
        text = _text_of(self._schema)
        if text is None:
            raise InvalidSchemaError("$", "it is nested too deeply")
        child = ChildProcess("schema", memory_bytes=MEMORY_BYTES, packages=["jsonschema_rs"])
        try:
            child.ask({"do": "open", "schema": text}, seconds=_OPEN_SECONDS)
            reply = child.frame(seconds=_OPEN_SECONDS)
        except ChildEndedError as ended:
            slow = ended.reason == "too_slow"
            reason = f"takes more than {_OPEN_SECONDS:.0f} s" if slow else "takes too much memory"
            self._invalid = InvalidSchemaError("$", f"reading it {reason}")
            raise self._invalid from None
        if reply["invalid"]:
            child.close()
            self._invalid = InvalidSchemaError(*reply["invalid"])
            raise self._invalid
        self._child = child
        return child


def _text_of(value: Any) -> str | None:
    try:
        return msgspec.json.encode(value).decode()
    except (ValueError, TypeError, RecursionError):  # also text that UTF-8 cannot encode
        return None
