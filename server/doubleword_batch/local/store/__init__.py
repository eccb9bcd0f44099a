"""What the local server remembers: files, batches, requests and results, in one SQLite file."""

from doubleword_batch.local.store.database import Database

__all__ = ["Database"]
