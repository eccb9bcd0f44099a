"""What requests will cost, by their own lines or the provider's estimates."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from doubleword_batch.errors import InputError, NotFoundError, RejectedError
from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.requests import UNLIMITED_OUTPUT_TOKENS, bound_tokens, estimate_file_tokens


def estimate_cost_of_rows(
    job: StoredJob, rows: int, estimate: "ProviderEstimate | None" = None
) -> Cost:
    """The cost of this many of a job's rows, as a share of the whole."""
    if estimate is not None:
        return estimate.cost_of_rows(rows)
    sent = sum(part.requests for part in job.parts() if not part.retry_round)
    share = Decimal(rows) / Decimal(sent or job.rows or rows)
    input_tokens, output_tokens = int(job.input_tokens * share), int(job.output_tokens * share)
    return price_tokens(job.workspace, job.model, job.window, input_tokens, output_tokens)


def estimate_cost_of_parts(
    job: StoredJob,
    parts: Sequence[Part],
    estimate: "ProviderEstimate | None" = None,
    *,
    asked_max_usd: Decimal | None = None,
) -> Cost:
    """The cost of parts by their own lines, since a retry may have other limits than the job.

    If there is a cap, it is the most that they can cost. `estimate` is for the job's own model.

    Raises:
        InputError: as `bound_cost`.
    """
    paths: dict[str | None, list[Path]] = {}
    for part in parts:
        if part.path is not None:
            paths.setdefault(part.model, []).append(part.path)
    total = Cost(Decimal(0), "")
    for model, of_model in paths.items():
        own = estimate if model is None else None
        if holds_cap(job.workspace, asked_max_usd):
            total += bound_cost(
                job, of_model, job.window, own, asked_max_usd=asked_max_usd, model=model
            )
            continue
        tokens = [estimate_file_tokens(path) for path in of_model]
        read, written = (sum(counts) for counts in zip(*tokens, strict=True))
        total += (
            price_tokens(job.workspace, model or job.model, job.window, read, written)
            if own is None
            else own.cost_of(read, written)
        )
    return total


@dataclass(frozen=True, slots=True)
class ProviderEstimate:
    """The provider's estimate for requests that it has, from which a retry's cost is estimated."""

    provider: str
    requests: int
    input_tokens: int
    output_tokens: int
    usd: Decimal

    def cost_of(self, input_tokens: int, output_tokens: int) -> Cost:
        """The most that these tokens can cost, whatever part of the estimate each is."""
        if output_tokens and not self.output_tokens:
            return Cost(None, "unknown: the provider's estimate assumes no answers")
        shares = [
            Decimal(tokens) / Decimal(of)
            for tokens, of in (
                (input_tokens, self.input_tokens),
                (output_tokens, self.output_tokens),
            )
            if of
        ]
        return Cost(self.usd * max(shares, default=Decimal(1)), f"by {self.provider}'s estimate")

    def cost_of_rows(self, rows: int) -> Cost:
        """The cost of this many requests."""
        share = Decimal(rows) / Decimal(self.requests or rows)
        return Cost(self.usd * share, f"by {self.provider}'s estimate")


async def fetch_provider_estimate(job: StoredJob, parts: Sequence[Part]) -> ProviderEstimate | None:
    """The provider's estimate for the input files of these parts, if we know no price.

    None if it makes no estimates, has none of the files any more, or has no price either.
    """
    profile = job.profile
    is_priced = price_tokens(job.workspace, job.model, job.window, 1, 1).usd is not None
    if is_priced or not profile.cost_estimate:
        return None
    requests = input_tokens = output_tokens = 0
    usd = Decimal(0)
    for part in parts:
        if part.input_file_id is None:
            continue
        try:
            found = await job.client.files.estimate_cost(part.input_file_id, job.window)
        except (NotFoundError, RejectedError):
            continue
        requests += found.total_requests
        input_tokens += found.total_estimated_input_tokens
        output_tokens += found.total_estimated_output_tokens
        usd += found.total_estimated_cost
    if not usd:
        return None
    return ProviderEstimate(profile.called, requests, input_tokens, output_tokens, usd)


def holds_cap(ws: Workspace, asked_max_usd: Decimal | None) -> bool:
    """Whether the most that requests can cost matters, because of a cap or an approval."""
    return ws.is_bounded or (asked_max_usd is not None and not ws.profile.free)


def bound_cost(
    job: StoredJob,
    paths: Sequence[Path | None],
    window: str,
    estimate: "ProviderEstimate | None" = None,
    *,
    asked_max_usd: Decimal | None = None,
    model: str | None = None,
) -> Cost:
    """The most that request files can cost, by the lines that are sent.

    Raises:
        InputError: code `unknown_cost`: there is a cap, and a line holds something whose cost
            nobody can foresee.
    """
    there = [path for path in paths if path is not None and path.exists()]
    if len(there) < len(paths):
        return Cost(None, "unknown: a request file is not on this machine")
    try:
        most = bound_tokens(there)
    except InputError as error:
        if job.workspace.is_capped or asked_max_usd is not None:
            raise
        return Cost(None, f"unknown: {error.message}")
    cost = (
        price_tokens(
            job.workspace, model or job.model, window, most.input_tokens, most.output_tokens
        )
        if estimate is None
        else estimate.cost_of(most.input_tokens, most.output_tokens)
    )
    note = cost.note
    if most.without_limit:
        note += (
            f"; {most.without_limit} requests without a token limit count as "
            f"{UNLIMITED_OUTPUT_TOKENS:,} tokens each"
        )
    return Cost(cost.usd, note, most.output_tokens)
