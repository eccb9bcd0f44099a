"""Streams the rows of tables, files, folders and objects, from which jobs are built."""

from doubleword_batch.sources.base import BadRow, Source
from doubleword_batch.sources.objects import is_object_source, write_objects, write_rows
from doubleword_batch.sources.open import open_source
from doubleword_batch.sources.options import SourceOptions

__all__ = [
    "BadRow",
    "Source",
    "SourceOptions",
    "is_object_source",
    "open_source",
    "write_objects",
    "write_rows",
]
