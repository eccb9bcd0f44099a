"""The option `cascade` of a build: what it takes, and what it adds to the requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.cascade.labels import AGREEMENT, LOGPROBS, label_fields
from doubleword_batch.jobs.cascade.statistics import LEAST_TARGET, MOST_TARGET
from doubleword_batch.jobs.sync.json_values import object_of
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.providers import Profile

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import StoredJob

FEWEST_ROWS = 500
"""Of a smaller table, the sample alone would be nearly all rows."""

_DEFAULT_TARGET = 0.95
_KEYS = {"model", "target", "score"}


@dataclass(frozen=True, slots=True)
class Cascade:
    """A strong model that follows the job's own.

    Attributes:
        model: the strong model.
        target: share of the accepted rows that has to agree with it.
        score: `logprobs` or `agreement`, see `labels.py`.
        added: parameters that only the cheap model's requests have, to get the score.
    """

    model: str
    target: float
    score: str
    added: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """How many answers the cheap model writes for each row."""
        return 2 if "n" in self.added else 1

    def strong_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The strong model's request body, made from the cheap model's."""
        kept = {name: value for name, value in body.items() if name not in self.added}
        return kept | {"model": self.model}


def is_cascade(value: Any) -> bool:
    """Whether the option has the right form."""
    fields = object_of(value)
    if not {"model"} <= fields.keys() <= _KEYS:
        return False
    model, target = fields["model"], fields.get("target", _DEFAULT_TARGET)
    is_number = isinstance(target, int | float) and not isinstance(target, bool)
    return (
        isinstance(model, str)
        and bool(model.strip())
        and is_number
        and LEAST_TARGET <= target <= MOST_TARGET
        and fields.get("score", LOGPROBS) in (LOGPROBS, AGREEMENT)  # it may be of any type
    )


VALUES = (
    '{"model": the strong model, "target": the share of rows that has to agree with it, '
    f"{LEAST_TARGET} to {MOST_TARGET}}}"
)
"""The form in words."""


def plan_cascade(
    given: Mapping[str, Any],
    *,
    model: str,
    endpoint: str,
    schema: Mapping[str, Any] | None,
    params: Mapping[str, Any],
    profile: Profile,
) -> tuple[Cascade, dict[str, Any]]:
    """The cascade of a build, and the parameters of the cheap model's requests.

    Args:
        given: the option, of the right form.
        model: the job's own model.
        endpoint: the endpoint of the requests.
        schema: the schema of the answers.
        params: as the caller gave them.
        profile: says whether the provider writes log probabilities.

    Raises:
        InputError: a cascade cannot handle these requests; the message says why.
    """
    from doubleword_batch.requests import model_id

    strong, target = model_id(str(given["model"])), float(given.get("target", _DEFAULT_TARGET))
    if strong == model:
        raise InputError(
            f"The cascade's strong model is the job's own model, {model}.",
            hint="Name a stronger model in cascade, or leave cascade out.",
        )
    _check_requests(endpoint, schema, params)
    score = str(given.get("score") or _score(params, profile))
    if score == LOGPROBS:
        has = params.get("logprobs") is True
        added = {} if has else {"logprobs": True}
    else:
        _refuse_zero_temperature(params)
        added = {"n": 2}
    return Cascade(strong, target, score, tuple(added)), {**params, **added}


def _check_requests(
    endpoint: str, schema: Mapping[str, Any] | None, params: Mapping[str, Any]
) -> None:
    """Refuse requests whose answers cannot be compared as labels, one for each row."""
    if endpoint != ENDPOINTS[0]:
        raise InputError(
            f"A cascade runs at {ENDPOINTS[0]} only.",
            hint="Use that endpoint, or leave cascade out.",
        )
    label_fields(schema)
    if params.get("tools") or params.get("functions"):
        raise InputError(
            "A cascade compares labels, and these requests offer tools.",
            hint="Leave tools out, or leave cascade out.",
        )
    if (params.get("n") or 1) != 1:
        raise InputError(
            "A cascade decides on one answer for each row, and n asks for more.",
            hint="Leave n out; without log probabilities the cascade asks for two by itself.",
        )


def _score(params: Mapping[str, Any], profile: Profile) -> str:
    asked = params.get("logprobs")
    if asked is None:
        return LOGPROBS if profile.logprobs else AGREEMENT
    return LOGPROBS if asked else AGREEMENT


def _refuse_zero_temperature(params: Mapping[str, Any]) -> None:
    temperature = params.get("temperature")
    if isinstance(temperature, int | float) and not temperature:
        raise InputError(
            "At temperature 0 two answers of a model are always the same, so they do not show how "
            "sure it is.",
            hint='Leave temperature out, or give "score": "logprobs" in cascade where the model '
            "writes log probabilities.",
        )


def cascade_of(job: "StoredJob") -> Cascade | None:
    """The cascade of a job; nearly all jobs have none."""
    if '"cascade":{' not in job.spec:
        return None
    stored = msgspec.json.decode(job.spec).get("cascade")
    return None if stored is None else msgspec.convert(stored, Cascade)


def refuse_small(rows: int) -> None:
    """Refuse a table that is too small for a cascade to save money.

    Raises:
        InputError: it has fewer than 500 requests.
    """
    if rows < FEWEST_ROWS:
        raise InputError(
            f"A cascade is not worth it for {rows:,} requests: the sample that both models answer "
            f"has at least 200 rows, so at least {FEWEST_ROWS} are needed. Nothing was built.",
            hint="Leave cascade out and give the strong model as model.",
        )
