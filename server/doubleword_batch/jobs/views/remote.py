"""What the provider has: batches and files that are not jobs here yet; models and their prices."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import TypeVar

from doubleword_batch.jobs.job import Workspace
from doubleword_batch.models import Batch, File

_MOST_SHOWN = 50
_MOST_LOOKED_AT = 200
_MOST_MODELS = 1_000  # offered on a page
_T = TypeVar("_T", Batch, File)


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """A batch or an input file at the provider that is not a job here."""

    kind: str
    id: str
    name: str
    status: str
    created_at: datetime | None
    requests: int | None = None
    finished: int | None = None
    failed: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A model, and US dollars per million tokens (input, output) by completion window."""

    id: str
    prices: dict[str, tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class PricedModels:
    """The models that the key may use.

    Attributes:
        windows: the provider's completion windows, the default first.
        priced_on: ISO date of the dated prices; "" if there are none.
        told_on: ISO date of the prices that the provider reported; "" if it reported none.
        is_free: whether nothing is billed here.
        left_out: how many more models there are.
    """

    models: tuple[ModelPrice, ...]
    windows: tuple[str, ...]
    priced_on: str
    told_on: str
    is_free: bool
    left_out: int = 0


async def unadopted_objects(ws: Workspace) -> list[RemoteObject]:
    """The newest batches and input files at the provider that are not jobs here, 50 of each.

    Raises:
        ApiError, TransportError, ProtocolError: the provider gave no list.
    """
    used: set[str] = set()

    def is_new(batch: Batch) -> bool:
        used.add(batch.input_file_id or "")
        return ws.store.job_of_remote_id(batch.id) is None

    def is_unused(file: File) -> bool:
        is_known = file.id in used or ws.store.job_of_remote_id(file.id) is not None
        return not is_known and file.purpose == "batch"

    batches = await _newest(ws.client.batches.list(), is_new)
    files = await _newest(ws.client.files.list(purpose="batch"), is_unused)
    return [
        *(
            RemoteObject(
                kind="batch",
                id=batch.id,
                name=batch.endpoint,
                status=batch.status,
                created_at=batch.created_at,
                requests=batch.request_counts.total,
                finished=batch.request_counts.completed + batch.request_counts.failed,
                failed=batch.request_counts.failed,
            )
            for batch in batches
        ),
        *(
            RemoteObject(
                kind="file",
                id=file.id,
                name=file.filename,
                status="uploaded",
                created_at=file.created_at,
                size_bytes=file.size_bytes,
            )
            for file in files
        ),
    ]


async def _newest(listed: AsyncIterator[_T], is_wanted: Callable[[_T], bool]) -> list[_T]:
    found: list[_T] = []
    looked = count(1)
    async for item in listed:
        if is_wanted(item):
            found.append(item)
        if len(found) >= _MOST_SHOWN or next(looked) >= _MOST_LOOKED_AT:
            break
    return found


async def models(ws: Workspace) -> PricedModels:
    """The models that the key may use, with their prices if they are on file.

    Raises:
        ApiError, TransportError, ProtocolError: the provider gave no list.
    """
    await ws.refresh_prices(asks_all=True)
    table = ws.prices
    prices = {} if table is None else table.models
    listed = [model.id for model in await ws.client.models.list()]
    return PricedModels(
        models=tuple(
            ModelPrice(name, dict(prices.get(name, {}))) for name in listed[:_MOST_MODELS]
        ),
        windows=ws.profile.windows,
        priced_on="" if table is None else table.date.isoformat(),
        told_on="" if table is None or table.told_on is None else table.told_on.isoformat(),
        is_free=ws.profile.free,
        left_out=max(0, len(listed) - _MOST_MODELS),
    )
