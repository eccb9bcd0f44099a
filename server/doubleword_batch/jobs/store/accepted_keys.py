"""Remembers which keys a server has accepted and what they could see there, for later processes.

Keys are not stored: four bytes of a hash recognise a key, too few to find it.
"""

import hmac
import logging
import secrets
import time

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.store.database import Database
from doubleword_batch.settings import Secret

_log = logging.getLogger(__name__)
_SALT_BYTES, _MARK_BYTES = 16, 4
_MOST_OF_A_SERVER = 8
_LATELY_SECONDS = 900.0
_GOES_ON = """
    SELECT 1 FROM batch_runs r JOIN jobs j ON j.id = r.job WHERE j.base_url = :server AND
    (r.ended_at > :lately OR (
        r.status NOT IN ('cancelled', 'completed', 'expired', 'failed')
        AND coalesce(r.expires_at, :now) >= :now)) AND """
_BATCH = _GOES_ON + "r.batch_id = :id"
_WAS_READ = """EXISTS (
    SELECT 1 FROM cursors c WHERE c.batch_run = r.id AND c.lines > 0 AND (
        (c.kind = 'output' AND r.output_file_id = :id)
        OR (c.kind = 'error' AND r.error_file_id = :id)))
"""  # nothing is put into it
_CONTENT = _GOES_ON + _WAS_READ
_FILE = """
    SELECT 1 FROM writes w JOIN jobs j ON j.id = w.job WHERE j.base_url = :server
    AND w.kind = 'upload' AND w.remote_id = :id AND w.answered_at > :lately
"""
_QUERIES = {("batches", ""): _BATCH, ("files", "content"): _CONTENT, ("files", ""): _FILE}


class AcceptedKey:
    """Whether a server has accepted this key in an earlier process.

    Args:
        database: the store's file.
        server: the base URL.
        key: the key.
        read_only: remember nothing.
    """

    def __init__(
        self, database: Database, server: str, key: Secret, *, read_only: bool = False
    ) -> None:
        self._database = database
        self._server = server
        self._key = key
        self._read_only = read_only

    def has_worked(self) -> bool:
        """Whether the key is remembered; False if the store cannot be read."""
        try:
            found = self._database.query(
                "SELECT salt, mark FROM accepted_keys WHERE base_url = ? "
                "AND typeof(salt) = 'blob' AND typeof(mark) = 'blob'",
                (self._server,),
            )
        except StoreError as error:
            _log.info("Whether the key has worked before is not known: %s", error.message)
            return False
        return any(hmac.compare_digest(mark, self._mark(salt)) for salt, mark in found)

    def has_seen(self, path: str) -> bool:
        """Whether our own batch or file at this path has to exist, because we have seen it.

        That is a batch that runs or has just ended, one of its result files of which we have lines,
        or a recent upload. Older ones may have been deleted since.
        """
        kind, _, rest = path.strip("/").partition("/")
        remote_id, _, extension = rest.partition("/")
        query = _QUERIES.get((kind, extension))
        if query is None or not self.has_worked():
            return False
        try:
            now = time.time()
            times = {"now": now, "lately": now - _LATELY_SECONDS}
            values = {"server": self._server, "id": remote_id, **times}
            return self._database.has(query, values)
        except StoreError as error:
            _log.info("Whether %s was there before is not known: %s", path, error.message)
            return False

    def remember(self) -> None:
        """Record that the server has just accepted the key."""
        if self._read_only or self.has_worked():
            return
        salt = secrets.token_bytes(_SALT_BYTES)
        try:
            with self._database.transaction() as db:
                db.execute(
                    "INSERT INTO accepted_keys (base_url, salt, mark, accepted_at) "
                    "VALUES (?, ?, ?, ?)",
                    (self._server, salt, self._mark(salt), time.time()),
                )
                db.execute(
                    "DELETE FROM accepted_keys WHERE base_url = ? AND id NOT IN (SELECT id FROM "
                    "accepted_keys WHERE base_url = ? ORDER BY id DESC LIMIT ?)",
                    (self._server, self._server, _MOST_OF_A_SERVER),
                )
        except StoreError as error:
            _log.info("That the key works is not remembered: %s", error.message)

    def _mark(self, salt: bytes) -> bytes:
        return hmac.digest(salt, self._key.reveal().encode(), "sha256")[:_MARK_BYTES]
