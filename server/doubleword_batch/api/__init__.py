"""The typed client of the Batch API; the only part, with the local upstream, that speaks HTTP out.

Importing it imports httpx: callers import it inside the function that needs it.
"""

from doubleword_batch.api.client import BatchClient
from doubleword_batch.api.download import ContentRead
from doubleword_batch.retry import RetryClock

__all__ = ["BatchClient", "ContentRead", "RetryClock"]
