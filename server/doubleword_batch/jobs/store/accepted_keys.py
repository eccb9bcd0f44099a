"""The keys that a server has accepted before, so that a later process knows them again.

A key is not kept: what stands here knows it again by four bytes, too few to find it from.
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
        """Whether it is remembered; not, where the store cannot be read."""
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

    def remember(self) -> None:
        """The server has just accepted it."""
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
