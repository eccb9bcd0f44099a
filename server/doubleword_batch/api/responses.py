"""Background responses: `POST /responses` and `GET /responses/{id}`."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from doubleword_batch.api.request import ApiRequest, checked_id, typed_reply
from doubleword_batch.api.retry_policy import FindCreated, IncompleteListError
from doubleword_batch.api.transport import Transport

_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class BackgroundResponse:
    """A response in its current state.

    Attributes:
        id: used to fetch it.
        status: queued, in_progress, completed, incomplete, failed or cancelled.
        body: the whole reply.
    """

    id: str
    status: str
    body: bytes

    @property
    def has_ended(self) -> bool:
        """Whether it will no longer change."""
        return self.status in _ENDED

    @property
    def has_answer(self) -> bool:
        """Whether it ended with an answer, even one that was cut short."""
        return self.status in {"completed", "incomplete"}


class Responses:
    """Reached as `BatchClient.responses`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, body: dict[str, Any]) -> BackgroundResponse:
        """Start a response in the background, in the asynchronous tier. This is what costs money.

        Args:
            body: the JSON body for /v1/responses.

        Raises:
            ApiError, TransportError, ProtocolError: as in `Batches`. There is no list in which a
                response whose reply was lost can be found, so the request is repeated only after
                425 and 429.
        """
        flags = {"background": True, "service_tier": "flex"}
        return await self._read(
            ApiRequest("POST", "/responses", body=body | flags, idempotent=False), _nowhere
        )

    async def get(self, response_id: str) -> BackgroundResponse:
        """The response in its current state."""
        path = f"/responses/{checked_id('response id', response_id)}"
        return await self._read(ApiRequest("GET", path))

    async def _read(
        self, request: ApiRequest, find: FindCreated[bytes] | None = None
    ) -> BackgroundResponse:
        body = await self._transport.call_raw(request, find)
        state = typed_reply(request, body, _State, self._transport.redact)
        return BackgroundResponse(state.id, state.status.lower(), body)


async def _nowhere() -> None:
    raise IncompleteListError("There is no list of responses.")


class _State(BaseModel):
    id: str
    status: str
