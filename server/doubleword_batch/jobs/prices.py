"""What models cost: as the provider reports it for a key, or else by the profile's dated table.

Prices that a provider reports are kept in the state directory with their date and asked for again
after some hours, for at most a second. They are not trusted blindly: an amount that cannot be a
price is ignored, and the dated price stays. A price below the dated one is used, and replies say
so, since it decides whether a cap allows a job.
"""

import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from doubleword_batch.atomic_files import write_bytes
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.sync.json_values import list_of, object_of
from doubleword_batch.open_files import open_regular
from doubleword_batch.providers import PriceTable, Profile
from doubleword_batch.settings import Secret

if TYPE_CHECKING:
    from doubleword_batch.api import BatchClient

_FRESH_SECONDS = 12 * 3_600.0
_AGAIN_SECONDS = 600.0
"""How long to wait after a failed try."""
_WAIT_SECONDS = 1.0
"""How long asking may delay a call."""
_SALT_BYTES, _MARK_BYTES = 16, 4
_MOST_BYTES = 4 << 20
_MOST_MODELS = 2_000
_NAME_CHARACTERS, _NUMBER_CHARACTERS = 200, 40
_LEAST_USD, _MOST_USD = Decimal("1e-11"), Decimal("0.01")
"""Per token: an amount outside this range is not a model's price."""
_MILLION = Decimal(1_000_000)

Pair = tuple[Decimal, Decimal]


class PriceList(msgspec.Struct, frozen=True):
    """The prices that a server has reported: US dollars per million input and output tokens.

    Attributes:
        server: the server.
        asked_at: when it was asked last, epoch seconds.
        salt: salt of the mark, hex.
        mark: recognises the keys that were used, since other accounts may have other prices.
        has_failed: whether it did not answer then.
        told_at: when it reported these prices; None if it has not reported any yet.
        batch: prices of batches, by model and window.
        realtime: prices of single calls, by model.
    """

    server: str
    asked_at: float
    salt: str = ""
    mark: str = ""
    has_failed: bool = False
    told_at: float | None = None
    batch: dict[str, dict[str, Pair]] = {}
    realtime: dict[str, Pair] = {}


class Prices:
    """The prices of one provider, used for everything that concerns money.

    Args:
        profile: has the dated table, and says whether the provider reports its own prices.
        folder: where they are kept.
        server: the addresses that are asked; prices from others are not used.
        clients: the clients that ask, one after the other.
        keys: the clients' keys.
    """

    def __init__(
        self,
        profile: Profile,
        folder: Path,
        server: str,
        clients: "tuple[BatchClient, ...]",
        keys: Iterable[Secret | None] = (),
    ) -> None:
        self._profile = profile
        self._path = folder / "prices.json"
        self._server = server
        self._clients = clients if profile.tells_prices else ()
        self._keys = tuple(key for key in keys if key is not None)
        self._told: PriceList | None = None
        self._merged: tuple[PriceTable | None, PriceTable | None] = None, None
        self._is_read = False

    def over(self, dated: PriceTable | None) -> PriceTable | None:
        """The dated prices, with the provider's own in place of them; None if there are none."""
        self.read()
        if self._told is None:
            return dated
        if self._merged[1] is None or self._merged[0] is not dated:
            self._merged = dated, merged(dated, self._told)
        return self._merged[1]

    async def refresh(self, now: float, *, asks_all: bool = False, read_only: bool = False) -> None:
        """Ask for the prices if the known ones are old; never raises, takes at most a second.

        Args:
            now: epoch seconds.
            asks_all: ask even if there is no platform key and no price was ever reported; for a
                call that asks for the models anyway.
            read_only: write nothing.
        """
        if not self._clients:
            return
        self.read()
        known, number = self._told, len(self._clients)
        was_told = known is not None and known.told_at is not None
        if not (asks_all or was_told or number > 1):
            return
        if known is not None and not _is_due(known, now):
            return
        replies = await self._asked()
        salt = secrets.token_bytes(_SALT_BYTES)
        told = msgspec.structs.replace(
            PriceList(self._server, now) if known is None else known,
            asked_at=now,
            salt=salt.hex(),
            mark=self._mark(salt),
            has_failed=len(replies) < number,
        )
        for reply in replies:
            batch, realtime = tariffs_in(reply, self._profile)
            if batch or realtime:
                told = msgspec.structs.replace(told, told_at=now, batch=batch, realtime=realtime)
        self._take(told)
        if not read_only:
            with suppress(DoublewordBatchError, OSError):
                write_bytes(self._path, msgspec.json.encode(told), private=True)

    async def _asked(self) -> list[Any]:
        """The replies to the clients, up to the first that fails or takes too long."""
        replies: list[Any] = []
        with anyio.move_on_after(_WAIT_SECONDS), suppress(DoublewordBatchError):
            for client in self._clients:
                replies.append(await client.models.tell_prices())  # noqa: PERF401  # as far as it got
        return replies

    def read(self) -> None:
        """Read the stored prices, once."""
        if not self._is_read:
            self._is_read = True
            told = _read(self._path, self._server) if self._clients else None
            self._take(told if told is not None and self._is_told_to_us(told) else None)

    def _is_told_to_us(self, told: PriceList) -> bool:
        try:
            salt = bytes.fromhex(told.salt)
        except ValueError:
            return False
        return hmac.compare_digest(self._mark(salt).encode(), told.mark.encode())

    def _mark(self, salt: bytes) -> str:
        """Four bytes of a digest: too few to find the keys."""
        keys = "\0".join(key.reveal() for key in self._keys)
        return hmac.digest(salt, keys.encode(), "sha256")[:_MARK_BYTES].hex()

    def _take(self, told: PriceList | None) -> None:
        self._told = told
        self._merged = None, None


def _is_due(told: PriceList, now: float) -> bool:
    if not told.asked_at <= now:  # a clock that was set back, or a file from elsewhere
        return True
    return now - told.asked_at >= (_AGAIN_SECONDS if told.has_failed else _FRESH_SECONDS)


def _read(path: Path, server: str) -> PriceList | None:
    """The stored prices; None if there are none, or the file cannot hold prices."""
    try:
        with open_regular(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            return None
        told = msgspec.json.decode(content, type=PriceList)
    except (OSError, ValueError, InvalidOperation, RecursionError):
        return None
    pairs = [*told.realtime.values(), *(p for w in told.batch.values() for p in w.values())]
    is_sound = all(_is_price(read / _MILLION, written / _MILLION) for read, written in pairs)
    return told if told.server == server and is_sound else None


def tariffs_in(reply: Any, profile: Profile) -> tuple[dict[str, dict[str, Pair]], dict[str, Pair]]:
    """The prices in a list of models: of batches by model and window, and of single calls by model.

    A tariff counts only if it names its unit, its purpose and, for batches, its window, and if it
    is in US dollars and in force.
    """
    batch: dict[str, dict[str, Pair]] = {}
    realtime: dict[str, Pair] = {}
    now = datetime.now(UTC)
    for model in map(object_of, list_of(object_of(reply).get("data"))[:_MOST_MODELS]):
        name = model.get("alias") or model.get("id")
        if not isinstance(name, str) or not 0 < len(name) <= _NAME_CHARACTERS:
            continue
        for tariff in _tariffs(model, now):
            pair = _pair(tariff)
            window = tariff.get("completion_window")
            if pair is None:
                continue
            if tariff.get("api_key_purpose") == "realtime":
                realtime[name] = _dearer(realtime.get(name), pair)
            elif tariff.get("api_key_purpose") == "batch" and isinstance(window, str):
                windows = batch.setdefault(name, {})
                own = profile.normalize_window(window)[:_NUMBER_CHARACTERS]
                windows[own] = _dearer(windows.get(own), pair)
    return batch, realtime


def _tariffs(model: Mapping[str, Any], now: datetime) -> Iterator[Mapping[str, Any]]:
    pricing = object_of(model.get("pricing"))
    given = model.get("tariffs") or pricing.get("tariffs")
    for tariff in map(object_of, list_of(given)[:100]):
        is_dollars = all(_is_dollars(each) for each in (model, pricing, tariff))
        is_over = tariff.get("is_active") is False or tariff.get("valid_until") is not None
        if is_dollars and not is_over and _has_begun(tariff.get("valid_from"), now):
            yield tariff


def _is_dollars(fields: Mapping[str, Any]) -> bool:
    """Whether amounts are US dollars, as they are if no currency is named."""
    currency = fields.get("currency")
    return currency is None or (isinstance(currency, str) and currency.strip().upper() == "USD")


def _has_begun(valid_from: Any, now: datetime) -> bool:
    if valid_from is None:
        return True
    try:
        began = datetime.fromisoformat(valid_from)
    except (TypeError, ValueError):
        return False
    return (began if began.tzinfo else began.replace(tzinfo=UTC)) <= now


def _pair(tariff: Mapping[str, Any]) -> Pair | None:
    read = _amount(tariff.get("input_price_per_token"))
    written = _amount(tariff.get("output_price_per_token"))
    if read is None or written is None or not _is_price(read, written):
        return None
    return read * _MILLION, written * _MILLION


def _amount(value: Any) -> Decimal | None:
    """An amount that is a number or a text; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        text = str(value).strip()
        if not text or len(text) > _NUMBER_CHARACTERS:
            return None
        amount = Decimal(text)
    except (ValueError, InvalidOperation):  # an integer of thousands of digits
        return None
    return amount if amount.is_finite() else None


def _is_price(read: Decimal, written: Decimal) -> bool:
    """Whether a model can cost that much per token; embeddings have no output."""
    if not (read.is_finite() and written.is_finite()):
        return False
    is_written = written == 0 or _LEAST_USD <= written <= _MOST_USD
    return _LEAST_USD <= read <= _MOST_USD and is_written


def _dearer(known: Pair | None, other: Pair) -> Pair:
    """The higher price, if a server names several for the same model and window."""
    return other if known is None else (max(known[0], other[0]), max(known[1], other[1]))


def merged(dated: PriceTable | None, told: PriceList) -> PriceTable | None:
    """The dated table, with the provider's own prices where it has reported some."""
    if told.told_at is None:
        return dated
    on = _day(told.told_at)
    if on is None:
        return dated
    base = dated or PriceTable(date=on, source="the provider", models={})
    models = {name: dict(windows) for name, windows in base.models.items()}
    told_of: dict[str, dict[str, Decimal]] = {}
    for name, windows in told.batch.items():
        for window, pair in windows.items():
            before = base.price(name, window)
            models.setdefault(name, {})[window] = pair
            told_of.setdefault(name, {})[window] = _times(before, pair)
    return base.model_copy(
        update={
            "models": models,
            "realtime": {**base.realtime, **told.realtime},
            "told_on": on,
            "told": told_of,
        }
    )


def _times(before: Pair | None, pair: Pair) -> Decimal:
    """How many times as high as the reported price the dated one is; at least 1."""
    if before is None:
        return Decimal(1)
    times = max(
        (old / new for old, new in zip(before, pair, strict=True) if new), default=Decimal(1)
    )
    if before[1] and not pair[1]:
        return Decimal("Infinity")
    return max(times, Decimal(1))


def _day(seconds: float) -> date | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
