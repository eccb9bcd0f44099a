"""The files, batches and models API over HTTP, in the shapes of the real server."""

from doubleword_batch.local.api.app import build_app

__all__ = ["build_app"]
