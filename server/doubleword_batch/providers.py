"""Provider profiles: how servers of the Batch API differ, as data and as rules.

The data is `providers.toml`; code elsewhere asks a profile and never a provider's name.
"""

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Collection
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from doubleword_batch.errors import InputError, quote_untrusted

_T = TypeVar("_T")
_MILLION = Decimal(1_000_000)
_A_LITTLE = Decimal("1.05")
_NEAR = 0.85  # similarity of a model's name to a known one
_MAX_METADATA_PAIRS = 16
_MAX_METADATA_KEY = 64
_MAX_METADATA_VALUE = 512


_WINDOW = re.compile(r"(\d{1,6})\s*([a-z]+)", re.IGNORECASE)
_SECONDS = {
    word: seconds
    for words, seconds in (
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3_600),
        ("d day days", 86_400),
        ("w week weeks", 604_800),
    )
    for word in words.split()
}


def _seconds_of(window: str) -> int | None:
    """The length of a completion window: `24h` and `1 day` are the same.

    None for other words, and for months, whose length varies.
    """
    found = _WINDOW.fullmatch(window.strip())
    seconds = _SECONDS.get(found[2].lower()) if found else None
    return int(found[1]) * seconds if found and seconds else None


def _same_window(windows: Collection[str], window: str) -> str | None:
    """The window among these that means the same, in any spelling; None if none does."""
    seconds = _seconds_of(window)
    same = (own for own in windows if seconds is not None and _seconds_of(own) == seconds)
    return window if window in windows else next(same, None)


def _of_window(prices: dict[str, _T], window: str) -> _T | None:
    """The value for a window, also in another spelling."""
    own = _same_window(prices, window)
    return None if own is None else prices[own]


class PriceTable(BaseModel):
    """Prices read on `date`; US dollars per million tokens, by model and window.

    Attributes:
        models: prices of input and output.
        cached: prices of cached input, where they are known.
        realtime: prices of input and output in single calls, by model.
        realtime_cached: prices of their cached input.
        told_on: when the provider told the prices in `told`, which are also in `models`.
        told: by model and window, how many times higher the dated price is; 1 if it is not.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    date: dt.date
    source: str
    models: dict[str, dict[str, tuple[Decimal, Decimal]]]
    cached: dict[str, dict[str, Decimal]] = {}
    realtime: dict[str, tuple[Decimal, Decimal]] = {}
    realtime_cached: dict[str, Decimal] = {}
    told_on: dt.date | None = None
    told: dict[str, dict[str, Decimal]] = {}

    def read_on(self, model: str, window: str) -> dt.date:
        """The date of a price."""
        is_told = _of_window(self.told.get(model, {}), window) is not None
        return self.told_on if self.told_on is not None and is_told else self.date

    def words(self, title: str, model: str, window: str) -> str:
        """Where a price comes from, in words: told by the provider, or dated."""
        times = _of_window(self.told.get(model, {}), window)
        if times is None or self.told_on is None:
            return f"by prices of {self.date.isoformat()}, not live"
        told = f"by {title}'s own prices of {self.told_on.isoformat()}"
        if times <= 1:
            return told
        if not times.is_finite():
            many = "not zero"
        else:
            many = "a little higher" if times < _A_LITTLE else f"{times:.1f} times as high"
        return f"{told}; the price of {self.date.isoformat()} is {many}"

    def realtime_usd(self, model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
        """The cost of these tokens in single calls, or None if it is not in the table."""
        price = self.realtime.get(model)
        if price is None:
            return None
        return (price[0] * input_tokens + price[1] * output_tokens) / _MILLION

    def realtime_saved_usd(self, model: str, cached_tokens: int) -> Decimal:
        """How much less cached tokens cost in single calls; 0 if it is not known."""
        price, cached = self.realtime.get(model), self.realtime_cached.get(model)
        if price is None or cached is None:
            return Decimal(0)
        return max(price[0] - cached, Decimal(0)) * cached_tokens / _MILLION

    def price(self, model: str, window: str) -> tuple[Decimal, Decimal] | None:
        """The price of a model in a window, or None if either is not in the table."""
        return _of_window(self.models.get(model, {}), window)

    def closest_model(self, model: str) -> str | None:
        """The model in the table that a misspelt name may mean; None if the name is in it."""
        if model in self.models:
            return None
        names = {name.rpartition("/")[2].lower(): name for name in reversed(self.models)}
        names |= {name.lower(): name for name in self.models}
        word = model.lower()
        begun = sorted((name for name in names if word and name.startswith(word)), key=len)
        near = begun or difflib.get_close_matches(word, names, n=1, cutoff=_NEAR)
        return names[near[0]] if near else None

    def saved_usd(self, model: str, window: str, cached_tokens: int) -> Decimal | None:
        """How much less these tokens cost because they were cached; None if it is not known."""
        price, cached = self.price(model, window), _of_window(self.cached.get(model, {}), window)
        if price is None or cached is None:
            return None
        return max(price[0] - cached, Decimal(0)) * cached_tokens / _MILLION

    def cost_usd(
        self, model: str, window: str, input_tokens: int, output_tokens: int
    ) -> Decimal | None:
        """The cost of these tokens, or None if the model or the window is not in the table."""
        price = self.price(model, window)
        if price is None:
            return None
        return (price[0] * input_tokens + price[1] * output_tokens) / _MILLION


class Profile(BaseModel):
    """The limits of a provider, and which extensions of OpenAI's API it has.

    Attributes:
        name: its key in `providers.toml`.
        title: its name for people.
        windows: completion windows, the default first.
        other_windows: the server may accept further windows.
        max_requests: maximum requests in one file.
        max_file_bytes: maximum size of one file.
        max_request_bytes: maximum size of one request's body.
        max_custom_id_bytes: maximum length of a custom_id (printable ASCII).
        max_embedding_inputs: maximum inputs in one embeddings file, None for no such limit.
        parts_at_once: how many parts of a job are sent or polled at the same time.
        endpoints: allowed values of a request line's `url`, from `models.ENDPOINTS`.
        skip: file content takes `skip` and returns X-Last-Line, also while the batch runs.
        search: lists take `search` and filters.
        retry: POST /batches/{id}/retry exists.
        cost_estimate: GET /files/{id}/cost-estimate exists.
        results: GET /batches/{id}/results may exist.
        analytics: GET /batches/{id}/analytics may exist.
        asynchronous: single responses can run in the background (`service_tier: flex`), polled by
            their id.
        free: nothing is billed.
        usual_times: how long a window usually takes, in words.
        prices: dated price table, None if there is none.
        output_limit: the chat parameter that limits the tokens of an answer.
        lists_models: the list of models is the key's own, not the whole server's.
        refuses_unlisted_models: an upload with a model outside that list is refused, so the list is
            complete; elsewhere, aliases that no list names may work.
        text_only: models that are known not to accept images.
        logprobs: its models return the log probabilities of their tokens on request.
        tells_prices: GET /models accepts `include=pricing`, and may tell a key its prices.
        management_url: where a platform key gets the prices; None if there is no such address.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    windows: tuple[str, ...]
    other_windows: bool = False
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
    cost_estimate: bool = False
    results: bool = False
    analytics: bool = False
    asynchronous: bool = False
    free: bool = False
    usual_times: dict[str, str] = {}
    prices: PriceTable | None = None
    output_limit: str = "max_tokens"
    lists_models: bool = False
    refuses_unlisted_models: bool = False
    text_only: tuple[str, ...] = ()
    logprobs: bool = False
    tells_prices: bool = False
    management_url: str | None = None

    @property
    def called(self) -> str:
        """Its name inside a sentence."""
        return f"the {self.title}" if self.title.endswith(" server") else self.title

    @property
    def title_first(self) -> str:
        """Its name at the beginning of a sentence."""
        return self.called[0].upper() + self.called[1:]

    def check_endpoint(self, endpoint: str) -> None:
        """Reject an endpoint that the provider does not run in batches.

        Raises:
            InputError: code `invalid_argument`.
        """
        if endpoint not in self.endpoints:
            raise InputError(
                f"{self.title_first} runs no batches for the endpoint "
                f"{quote_untrusted(endpoint, 80)}.",
                hint=f"Use one of {', '.join(self.endpoints)}.",
            )

    def normalize_window(self, window: str) -> str:
        """A window in the provider's own spelling; an unknown one is returned unchanged."""
        return _same_window(self.windows, window) or window

    def check_window(self, window: str) -> None:
        """Reject a completion window that the provider does not have.

        Raises:
            InputError: code `invalid_argument`.
        """
        if window not in self.windows and not self.other_windows:
            raise InputError(
                f"There is no completion window {quote_untrusted(window, 80)} at {self.called}.",
                hint=f"Use one of {', '.join(self.windows)}.",
            )


def check_metadata(
    metadata: dict[str, str], *, reserved_pairs: int = 0, reserved_prefix: str | None = None
) -> None:
    """Reject batch metadata that some server would reject.

    OpenAI checks the limits, Doubleword does not; what is sent has to work on both.

    Args:
        metadata: keys and their texts.
        reserved_pairs: how many of the 16 pairs the caller itself adds.
        reserved_prefix: the prefix of the caller's own keys.

    Raises:
        InputError: code `invalid_argument`.
    """
    most = _MAX_METADATA_PAIRS - reserved_pairs
    too_long = [
        key
        for key, value in metadata.items()
        if len(key) > _MAX_METADATA_KEY or len(value) > _MAX_METADATA_VALUE
    ]
    reserved = [key for key in metadata if reserved_prefix and key.startswith(reserved_prefix)]
    if too_long:
        reason = f"is too long at {quote_untrusted(', '.join(too_long), 120)}"
    elif reserved:
        reason = f"has reserved keys: {quote_untrusted(', '.join(reserved), 120)}"
    elif len(metadata) > most:
        reason = f"has {len(metadata)} pairs"
    else:
        return
    raise InputError(
        f"The metadata {reason}.",
        hint=f"Use at most {most} pairs, keys to {_MAX_METADATA_KEY} and values to "
        f"{_MAX_METADATA_VALUE} characters"
        + (f"; keys that begin with {reserved_prefix} are accepted." if reserved_prefix else "."),
    )


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("doubleword_batch").joinpath("providers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def profile(name: str) -> Profile:
    """The profile with that name; the names are those of `settings.ProviderName`."""
    return Profile(name=name, **_table()[name])
