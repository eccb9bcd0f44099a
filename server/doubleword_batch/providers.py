"""Provider profiles: the differences between servers of this shape, as data.

The data is `providers.toml`; code elsewhere asks a profile and never a provider's name.
"""

import tomllib
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

_MILLION = Decimal(1_000_000)


class PriceTable(BaseModel):
    """Prices read on `date`; US dollars per million tokens, (input, output) by model and window."""

    model_config = ConfigDict(frozen=True)

    date: date
    source: str
    models: dict[str, dict[str, tuple[Decimal, Decimal]]]

    def cost_usd(
        self, model: str, window: str, input_tokens: int, output_tokens: int
    ) -> Decimal | None:
        """The cost of these tokens, or None when the model or the window is not in the table."""
        price = self.models.get(model, {}).get(window)
        if price is None:
            return None
        return (price[0] * input_tokens + price[1] * output_tokens) / _MILLION


class Profile(BaseModel):
    """What a provider takes and offers.

    Attributes:
        name: its key in `providers.toml`.
        title: its name for people.
        windows: completion windows, the default first.
        max_requests: requests in one file.
        max_file_bytes: bytes in one file.
        max_request_bytes: bytes of one request's body.
        max_custom_id_bytes: bytes of a custom_id (printable ASCII).
        max_embedding_inputs: inputs in one embeddings file, None for no limit of that kind.
        parts_at_once: how many parts of a job are sent or asked for at the same time.
        endpoints: values of a request line's `url`.
        skip: file content takes `skip` and answers X-Last-Line, also while the batch runs.
        search: lists take `search`.
        retry: POST /batches/{id}/retry exists.
        results: GET /batches/{id}/results exists.
        cost_estimate: GET /files/{id}/cost-estimate exists.
        free: nothing is billed.
        prices: dated price table, None when there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    windows: tuple[str, ...]
    max_requests: int
    max_file_bytes: int
    max_request_bytes: int
    max_custom_id_bytes: int
    max_embedding_inputs: int | None = None
    parts_at_once: int = 4
    endpoints: tuple[str, ...]
    skip: bool = False
    search: bool = False
    retry: bool = False
    results: bool = False
    cost_estimate: bool = False
    free: bool = False
    prices: PriceTable | None = None


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("doubleword_batch").joinpath("providers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def profile(name: str) -> Profile:
    """The profile of that name; the names are those of `config.ProviderName`."""
    return Profile(name=name, **_table()[name])
