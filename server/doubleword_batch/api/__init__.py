"""The typed client of the Batch API.

Only this package and the local server's upstream send HTTP requests. Importing it imports httpx, so
callers import it inside the function that needs it. Its methods return the objects of
`doubleword_batch.models`.
"""

from doubleword_batch.api.client import BatchClient
from doubleword_batch.api.custom_transport import (
    CustomTransport,
    NoResponseError,
    TransportRequest,
    TransportResponse,
)
from doubleword_batch.api.download import ContentRead, Sink
from doubleword_batch.api.resources import Batches, Files, Models
from doubleword_batch.api.retry_policy import KeyMemory
from doubleword_batch.api.upload import ByteProgress
from doubleword_batch.backoff import RetryClock

__all__ = [
    "BatchClient",
    "Batches",
    "ByteProgress",
    "ContentRead",
    "CustomTransport",
    "Files",
    "KeyMemory",
    "Models",
    "NoResponseError",
    "RetryClock",
    "Sink",
    "TransportRequest",
    "TransportResponse",
]
