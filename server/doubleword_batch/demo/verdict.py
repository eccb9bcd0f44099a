"""What became of every row, counted from the source and the table of answers and nothing else."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from doubleword_batch.demo.folder import DemoFolder
from doubleword_batch.demo.task import ID_COLUMN, LABEL_COLUMN


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """One row of the table of answers; `topic` is the model's word, `label` the human's."""

    word: str
    definition: str
    label: str
    topic: str
    outcome: str

    @property
    def agrees(self) -> bool:
        """Whether the model chose the human's topic."""
        return self.topic == self.label


@dataclass(frozen=True, slots=True)
class Verdict:
    """The table of answers against the source.

    Attributes:
        rows: the table's rows, in its order.
        source_rows: how many the source has.
        each_row_once: whether the table has every source row exactly once, in the source's order.
    """

    rows: tuple[AnsweredRow, ...]
    source_rows: int
    each_row_once: bool

    @property
    def outcomes(self) -> dict[str, int]:
        """How many rows came out how, `ok` among them."""
        return dict(Counter(row.outcome for row in self.rows))

    @property
    def agreed(self) -> int:
        """On how many rows the model agrees with the human."""
        return sum(row.agrees for row in self.rows)

    @property
    def is_complete(self) -> bool:
        """Whether every source row is there once, with a good answer."""
        return self.each_row_once and self.outcomes == {"ok": self.source_rows}


def judge(folder: DemoFolder) -> Verdict:
    """Compare the two tables."""
    source, answers = _records(folder.source), _records(folder.answers)
    return Verdict(
        rows=tuple(
            AnsweredRow(
                word=row["word"],
                definition=row["definition"],
                label=row[LABEL_COLUMN],
                topic=row["topic"],
                outcome=row["outcome"],
            )
            for row in answers
        ),
        source_rows=len(source),
        each_row_once=[r[ID_COLUMN] for r in answers] == [r[ID_COLUMN] for r in source],
    )


def _records(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
