"""Rows that cannot become requests: left out with an outcome, or reported together as an error."""

from dataclasses import dataclass, field
from typing import NamedTuple

from doubleword_batch.errors import InputError

_SHOWN = 20
_MOST_FAULTS = 10
_MESSAGE_CHARACTERS = 120


class LeftOut(NamedTuple):
    """A row of the source without a request.

    Attributes:
        row: its number.
        outcome: `skipped` for a blank row, else `failed`.
        cause: `blank`, `too_large`, or an error code.
        message: what is wrong with the row.
    """

    row: int
    outcome: str
    cause: str
    message: str


@dataclass(slots=True)
class LeftOutRows:
    """The rows left out so far, in memory that does not grow with them.

    Attributes:
        first: the first 20 that are not blank.
        causes: how many, by cause.
    """

    first: list[LeftOut] = field(default_factory=list[LeftOut])
    causes: dict[str, int] = field(default_factory=dict[str, int])
    _group: list[LeftOut] = field(default_factory=list[LeftOut])

    def add(self, row: LeftOut) -> None:
        """Count a row, and keep it for the next `taken`."""
        self.causes[row.cause] = self.causes.get(row.cause, 0) + 1
        self._group.append(row)
        if row.outcome != "skipped" and len(self.first) < _SHOWN:
            self.first.append(row)

    def taken(self) -> list[LeftOut]:
        """The rows added since the last call."""
        group, self._group = self._group, []
        return group

    def nothing_left(self, rows: int) -> InputError:
        """The error for a source none of whose rows can be sent."""
        if set(self.causes) <= {"blank"}:
            return InputError(
                f"All {rows} rows are blank in the columns that the prompt uses.",
                hint='Use other columns, or send blank rows with the option blanks = "send".',
                code="no_rows",
            )
        reason = f" Row {self.first[0].row}: {self.first[0].message}" if self.first else ""
        is_too_large = "too_large" in self.causes
        return InputError(
            f"None of the {rows} rows can become a request.{reason}",
            hint="Shorten the rows' texts, for example {{ text[:20000] }}."
            if is_too_large
            else "Correct the rows.",
            code="request_too_large" if is_too_large else self.first[0].cause,
        )


@dataclass(slots=True)
class RowFaults:
    """The first ten faulty rows that stop the build, reported together.

    Attributes:
        are_found: whether there is at least one.
        are_enough: whether there are ten, so that the build need not read on.
    """

    are_found: bool = False
    are_enough: bool = False
    _found: list[tuple[int, InputError]] = field(default_factory=list[tuple[int, InputError]])

    def add(self, row: int, fault: InputError) -> None:
        """Add the fault of a row."""
        self._found.append((row, fault))
        self.are_found, self.are_enough = True, len(self._found) >= _MOST_FAULTS

    def raise_if_any(self) -> None:
        """Raise one error for all of them.

        Raises:
            InputError: with the code of the first row's fault.
        """
        if not self._found:
            return
        row, first = self._found[0]
        hint = f'{first.hint} Or leave such rows out with the option on_bad_row = "skip".'
        if len(self._found) == 1:
            raise InputError(
                f"Row {row}: {first.message}",
                hint=hint,
                code=first.code,
                details=first.details | {"row": row},
            )
        kinds: dict[str, list[int]] = {}
        for number, fault in self._found:
            kinds.setdefault(fault.code, []).append(number)
        counted = "; ".join(
            f"{kind}: rows {', '.join(map(str, rows))}" for kind, rows in kinds.items()
        )
        words = "The first 10 bad rows" if self.are_enough else f"{len(self._found)} bad rows"
        first_of_kind = {fault.code: (number, fault) for number, fault in reversed(self._found)}
        examples = " ".join(
            f"Row {number}: {fault.message[:_MESSAGE_CHARACTERS]}"
            for number, fault in sorted(first_of_kind.values(), key=lambda found: found[0])
        )
        raise InputError(
            f"{words} ({counted}). {examples}",
            hint=hint,
            code=first.code,
            details={
                "rows": [{"row": number, "code": fault.code} for number, fault in self._found]
            },
        )
