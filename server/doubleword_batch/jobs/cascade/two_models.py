"""The two models of a cascade: which rows each has answered, and how they agree on a sample.

The sample depends on the source and the models only, so every process draws the same.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from random import Random

import msgspec

from doubleword_batch.jobs.cascade.labels import DOUBTS, doubt_of, label_fields, label_of
from doubleword_batch.jobs.cascade.option import Cascade
from doubleword_batch.jobs.cascade.statistics import (
    MOST_DRAWN,
    Decision,
    decide,
    draw,
    sample_size,
)
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.cascades import CascadeRecord
from doubleword_batch.jobs.store.records import ANSWERED, Entry
from doubleword_batch.jobs.sync.stored_lines import StoredLines


@dataclass(frozen=True, slots=True)
class DrawnSample:
    """The rows that both models answer.

    Attributes:
        rows: the rows that count, ascending; of equal rows, the one that has the request.
        by_doubt: how many rows of the whole job have each doubt; fixed before anybody knows which
            rows agree.
    """

    rows: list[int]
    by_doubt: list[int]


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What the sample showed.

    Attributes:
        decision: which rows keep the cheap model's answer.
        compared: number of sampled rows with a good answer from both models.
        is_stopped: the strong model has no good answer to more than half of the sample, so it is
            asked nothing more and every row keeps the answer it has.
    """

    decision: Decision
    compared: int
    is_stopped: bool = False


def sample_result(record: CascadeRecord) -> SampleResult | None:
    """What the sample showed; None until that is decided."""
    return (
        None if record.decision is None else msgspec.json.decode(record.decision, type=SampleResult)
    )


class TwoModels:
    """What a job's own model and its strong model have answered.

    Args:
        job: the job, whose ledger and result lines are read.
        cascade: the job's cascade.
    """

    def __init__(self, job: StoredJob, cascade: Cascade) -> None:
        self._job = job
        self._cascade = cascade
        self._fields = label_fields(msgspec.json.decode(job.spec).get("response_schema"))
        models = {part.id: part.model for part in job.parts()}
        self._strong_runs = {run.id for run in job.batch_runs() if models[run.part] is not None}
        origins = job.ledger.origins()
        self._strong_origins = {origin.number for origin in origins if origin.model is not None}

    def draw_sample(self) -> tuple[DrawnSample, frozenset[int]]:
        """Draw the sample; every row with a good answer of the cheap model is equally likely.

        Returns:
            The sample, and the rows whose requests go to the strong model. If equal rows share
            requests, these are more than the rows that count.
        """
        rows = requests = 0
        by_doubt = [0] * DOUBTS
        with closing(StoredLines(self._job)) as lines:
            for entry in self._of_cheap():
                rows += 1
                requests += entry.shares is None
                by_doubt[self._doubt(entry, lines)] += 1
        places = self._random().sample(range(rows), min(rows, MOST_DRAWN))
        wanted = frozenset(places)
        request_of = {
            place: entry.shares or entry.row
            for place, entry in enumerate(self._of_cheap())
            if place in wanted
        }
        drawn = draw(
            (request_of[place] for place in places), sample_size(requests, self._cascade.target)
        )
        return DrawnSample(sorted(drawn.counted), by_doubt), drawn.requests

    def compare(self, sample: DrawnSample) -> SampleResult:
        """Compare the answers of both models to the sample."""
        compared: list[tuple[int, bool]] = []
        good = 0
        with closing(StoredLines(self._job)) as lines:
            for row in sample.rows:
                pair = self._pair(row, lines)
                if pair is not None:
                    doubt, agrees, is_good = pair
                    compared.append((doubt, agrees))
                    good += is_good
        is_stopped = 2 * good < len(sample.rows)
        decision = (
            Decision(None)
            if is_stopped
            else decide(sample.by_doubt, compared, self._cascade.target)
        )
        return SampleResult(decision, good, is_stopped)

    def keep(self, entry: Entry, lines: StoredLines, result: SampleResult) -> bool:
        """Whether a row keeps the answer it has and is not sent to the strong model."""
        limit = result.decision.limit
        if not self.is_unanswered(entry):
            return True
        if entry.outcome != "ok" or limit is None:
            return False
        return self._doubt(entry, lines) <= limit

    def is_unanswered(self, entry: Entry) -> bool:
        """Whether the strong model has not answered a row."""
        return not (self._is_of_strong(entry) and entry.outcome in ANSWERED)

    def _of_cheap(self) -> Iterator[Entry]:
        """The rows with a good answer of the cheap model, be it from this or an earlier job."""
        for entry in self._job.ledger.entries(outcomes=("ok",)):
            if not self._is_of_strong(entry):
                yield entry

    def _is_of_strong(self, entry: Entry) -> bool:
        return entry.origin in self._strong_origins or entry.batch_run in self._strong_runs

    def _random(self) -> Random:
        facts = (self._job.source_fingerprint or "", self._job.model, self._cascade.model)
        return Random(sha256("\0".join(facts).encode()).digest())  # noqa: S311  # has to repeat

    def _doubt(self, entry: Entry, lines: StoredLines) -> int:
        return doubt_of(lines.answer(entry), self._fields, self._cascade.score)

    def _pair(self, row: int, lines: StoredLines) -> tuple[int, bool, bool] | None:
        """(doubt, whether they agree, whether the strong model's answer is good) of a sampled row.

        A strong model's answer that is cut off, refused or invalid agrees with nothing. None if one
        of the models has not answered.
        """
        entry = self._job.ledger.entry(row)
        if entry is None:
            return None
        tries = [entry, *reversed(self._job.ledger.replaced(entry))]
        strong = [entry for entry in tries if entry.batch_run in self._strong_runs]
        cheap = [entry for entry in tries if entry not in strong and entry.outcome == "ok"]
        strong = [entry for entry in strong if entry.outcome in ANSWERED]
        if not cheap or not strong:
            return None
        good = next((entry for entry in strong if entry.outcome == "ok"), None)
        label = label_of(lines.answer(cheap[0]), self._fields)
        agrees = good is not None and label == label_of(lines.answer(good), self._fields)
        return self._doubt(cheap[0], lines), agrees and label is not None, good is not None
