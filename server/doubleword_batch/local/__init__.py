"""The local batch server: the Batch API on this machine, without a key.

Heavy modules are imported when a server starts, not with this package.
"""

from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.discovery import RunningServer, bearer_token, discover
from doubleword_batch.local.executors.faults import Faults
from doubleword_batch.local.server import FollowedServer, LocalServer, find_or_start, serve

__all__ = [
    "Faults",
    "FollowedServer",
    "LocalConfig",
    "LocalServer",
    "RunningServer",
    "bearer_token",
    "discover",
    "find_or_start",
    "serve",
]
