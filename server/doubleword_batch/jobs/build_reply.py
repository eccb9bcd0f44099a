"""The reply of a build: the job, its estimate, and what a person should know before they pay."""

from pathlib import Path
from typing import Any, cast

import msgspec

from doubleword_batch.errors import Next, quote_untrusted
from doubleword_batch.jobs.build_plan import BuildPlan
from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.costs import estimate_cost
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.later_parts import waves_in_words
from doubleword_batch.jobs.replies import Created
from doubleword_batch.jobs.reuse.savings import row_savings, savings_in_words
from doubleword_batch.jobs.reuse.unfetched_answers import (
    in_flight_in_words,
    lost_answers_in_words,
    next_for_in_flight,
    read_in_flight,
    read_lost_answers,
)
from doubleword_batch.jobs.window_costs import compare_windows
from doubleword_batch.plain_text import shortened
from doubleword_batch.requests import BuildResult

_NAMES_SHOWN = 5
_SHOWN_PATHS = 3
_SHOWN_CHARACTERS = 120
_WARNINGS_SHOWN = 6


def build_warnings(job: StoredJob, plan: BuildPlan, built: BuildResult | None) -> list[str]:
    """What a person should know about a job; `built` is None if it existed already."""
    left_out = _left_out_before(job) if built is None else [*_left_out(built), *built.warnings]
    warnings = [*plan.notices, *_renamed(plan), *plan.source.notes, *left_out]
    if plan.name not in {None, job.name}:
        warnings.append(f"This work is already job {job.name}, so it keeps that name.")
    if plan.copy_to is not None and not job.parts():
        warnings.append(f"Nothing is left to be asked, so {plan.copy_to.name} was not written.")
    return warnings


def created_reply(
    job: StoredJob, warnings: list[str], *, reused: bool, copies: list[Path]
) -> Created:
    """The reply of a build.

    Args:
        job: the job.
        warnings: what a person should know before money is spent.
        reused: whether the job existed already.
        copies: where its request files were copied to.
    """
    parts = [part for part in job.parts() if not part.retry_round]
    paths = [str(path) for path in copies or [part.path for part in parts if part.path]]
    window = job.profile.windows[0]
    cost = with_cascade(job, window, estimate_cost(job, window))
    saved = row_savings(job)
    is_unsent = job.store.is_unsent(job.id)
    in_flight = read_in_flight(job) if is_unsent else []
    lost = read_lost_answers(job) if is_unsent else []
    before = [*in_flight_in_words(in_flight), *lost_answers_in_words(lost)]
    warnings = [*before, *savings_in_words(saved), *waves_in_words(job), *warnings]
    submit = Next("create_batch", {"job": job.name, "completion_window": window})
    window_costs = compare_windows(job)
    return Created(
        provider=job.workspace.provider,
        next=next_for_in_flight(in_flight) or submit
        if parts
        else Next("fetch_results", {"job": job.name}),
        job=job.name,
        reused=reused,
        paths=paths[:_SHOWN_PATHS],
        rows=job.rows or 0,
        requests=sum(part.requests for part in parts),
        reused_rows=saved.reused_rows,
        shared_rows=saved.shared_rows,
        reused_from=saved.reused_from,
        parts=len(parts),
        size_bytes=sum(part.size_bytes for part in parts),
        model=job.model,
        input_tokens=job.input_tokens,
        output_tokens=job.output_tokens,
        cost_usd=cost.usd,
        cost_note=cost.note,
        windows=window_costs.windows,
        realtime_usd=window_costs.realtime_usd,
        advice=window_costs.advice or None,
        source_rows=job.source_rows if job.source_rows != job.rows else None,
        first_request="" if reused or not parts else _first_request(parts[0].path),
        warnings=warnings[:_WARNINGS_SHOWN],
    )


def _left_out(built: BuildResult) -> list[str]:
    """Warnings about the rows that have no request, with the reasons."""
    warnings: list[str] = []
    causes = dict(built.left_out_causes)
    if blank := causes.pop("blank", 0):
        warnings.append(
            f"{blank} {_rows(blank)} blank in the columns that the prompt uses: skipped. The "
            'option blanks = "send" sends such rows.'
        )
    if causes:
        number = sum(causes.values())
        first = built.left_out[0]
        named = ", ".join(f"{count} {cause}" for cause, count in causes.items())
        warnings.append(
            f"{number} {_rows(number)} left out ({named}); the first is row {first.row}: "
            f"{first.message}"
        )
    return warnings


def _left_out_before(job: StoredJob) -> list[str]:
    """A warning about the rows that an existing job has left out."""
    causes = job.ledger.causes_without_request()
    if not causes:
        return []
    number = sum(causes.values())
    named = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    return [f"{number} {_rows(number)} left out ({named})."]


def _rows(count: int) -> str:
    return "row is" if count == 1 else "rows are"


def _renamed(plan: BuildPlan) -> list[str]:
    """Warnings about the source's columns that get another name in the table, or are left out."""
    from doubleword_batch.jobs.export.columns import table_columns

    spec = msgspec.json.decode(plan.stored_spec)
    named = table_columns(plan.source.columns, spec, plan.spec.endpoint)
    warnings: list[str] = []
    if named.renamed:
        pairs = ", ".join(
            f"{quote_untrusted(old, 60)} becomes {quote_untrusted(new, 67)}"
            for old, new in list(named.renamed.items())[:_NAMES_SHOWN]
        )
        warnings.append(
            f"In the table the answer's columns keep their names; the source's {pairs}."
        )
    dropped = [name for name in plan.source.columns if name not in named.given]
    if dropped:
        warnings.append(
            f"The source is a table of an earlier job: its {', '.join(dropped)} are left out."
        )
    return warnings


def _first_request(path: Path | None) -> str:
    """The messages of a file's first request, cut short; "" without a file."""
    if path is None:
        return ""
    with path.open("rb") as lines:
        body = msgspec.json.decode(lines.readline())["body"]
    messages: list[dict[str, Any]] = body.get("messages") or []
    texts = [_text_of(message.get("content")) for message in messages]
    if not texts:
        texts = [body.get("instructions") or "", _text_of(body.get("input"))]
    text = "\n".join(filter(None, texts))
    return shortened(text, _SHOWN_CHARACTERS)


def _text_of(content: Any) -> str:
    """The text in a message's content, with `[image]` for each image."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    pieces = cast("list[dict[str, Any]]", content)
    if pieces and "content" in pieces[0]:
        return "\n".join(_text_of(piece["content"]) for piece in pieces)
    return " ".join(piece.get("text") or "[image]" for piece in pieces)
