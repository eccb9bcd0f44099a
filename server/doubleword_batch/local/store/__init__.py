"""The local server's files, batches, requests and results, in one SQLite file."""

from doubleword_batch.local.store.database import LocalDatabase

__all__ = ["LocalDatabase"]
