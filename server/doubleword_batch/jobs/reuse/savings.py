"""What replies and tables say about rows that cost nothing: where their answers come from."""

from dataclasses import dataclass

from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import utc
from doubleword_batch.jobs.store.records import Origin, RowOutcome

_ORIGINS_NAMED = 3


@dataclass(frozen=True, slots=True)
class RowSavings:
    """The rows of a job that send no request.

    Attributes:
        reused_rows: how many have answers from earlier jobs; None if none has.
        shared_rows: how many share the request of an equal row; None if none does.
        reused_from: the earlier jobs with their rows and dates, at most three, most rows first.
    """

    reused_rows: int | None
    shared_rows: int | None
    reused_from: list[str]


def row_savings(job: StoredJob) -> RowSavings:
    """What a job saved when it was built."""
    origins = job.ledger.origins()
    return RowSavings(
        reused_rows=sum(origin.rows for origin in origins) or None,
        shared_rows=job.ledger.shared() or None,
        reused_from=[_line(origin) for origin in origins[:_ORIGINS_NAMED]],
    )


def savings_in_words(saved: RowSavings, *, with_options: bool = True) -> list[str]:
    """What a job saved, in sentences, for a person about to submit.

    Args:
        saved: the rows that send no request.
        with_options: also say which option of a build would send them all.
    """
    sentences: list[str] = []
    if saved.reused_rows:
        is_one = saved.reused_rows == 1
        sentences.append(
            f"{_rows(saved.reused_rows)} {'was' if is_one else 'were'} answered before by "
            f"{'; '.join(saved.reused_from)}: {'it is' if is_one else 'they are'} not sent again."
            + (" A new run would send all of them." if with_options else "")
        )
    if saved.shared_rows:
        is_one = saved.shared_rows == 1
        sentences.append(
            f"{_rows(saved.shared_rows)} {'asks' if is_one else 'ask'} the same as an earlier row: "
            "equal requests are sent once."
            + (' The option equal_rows = "separate" would send each.' if with_options else "")
        )
    return sentences


def origin_of_row(entry: RowOutcome, origins: dict[int, Origin]) -> str | None:
    """A row's text in the table's column `origin`; None if it has a request of its own."""
    if entry.shares is not None:
        return f"row {entry.shares}"
    origin = None if entry.origin is None else origins.get(entry.origin)
    return None if origin is None else f"job:{origin.name}, {_day(origin)}"


def _line(origin: Origin) -> str:
    return f"job {origin.name} ({_rows(origin.rows)}, {_day(origin)})"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _day(origin: Origin) -> str:
    return utc(origin.answered_at).strftime("%Y-%m-%d %H:%MZ")
