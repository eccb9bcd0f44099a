"""The models of the API."""

from doubleword_batch.api.request import Ask
from doubleword_batch.api.transport import Transport
from doubleword_batch.models import Model, Page


class Models:
    """Reached as `BatchClient.models`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> list[Model]:
        """The models that the key may use, as the server sorts them.

        Raises:
            ApiError, TransportError, ProtocolError: as everywhere in the client.
        """
        page = await self._transport.call(Ask("GET", "/models"), Page[Model])
        return page.data
