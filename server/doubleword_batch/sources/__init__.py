"""Rows of tables, files and folders, streamed: what a job is built from."""

from doubleword_batch.sources.base import Source
from doubleword_batch.sources.objects import write_rows
from doubleword_batch.sources.open import open_source

__all__ = ["Source", "open_source", "write_rows"]
