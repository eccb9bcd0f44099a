"""Finds a running local server: its token and address are in files that only the user can read."""

import hmac
import http.client
import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from doubleword_batch.atomic_files import write_bytes
from doubleword_batch.errors import StoreError
from doubleword_batch.liveness import LivenessLock, is_held
from doubleword_batch.private_home import check_place, read_or_create_key

CHALLENGE_HEADER = "x-doubleword-batch-challenge"
"""Asks /health to prove that the server has the token."""

_NOTICE = "local/server.json"
_SERVER_LOCK = "local/server.lock"
_ADVERTISED_LOCK = "local/advertised.lock"
_HEALTH_SECONDS = 15.0  # its lock is held, so it lives, but the machine may be busy
_MOST_HEALTH_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A local server that answers: its address, its token, and what answers its requests."""

    base_url: str
    token: str = field(repr=False)
    executor: str
    note: str
    pid: int


class _Notice(msgspec.Struct, frozen=True):
    base_url: str
    executor: str
    note: str
    pid: int


def bearer_token(home: Path) -> str:
    """The token of this state directory, created at the first call.

    Raises:
        ConfigError: the state directory belongs to another user or is open to others.
        StoreError: the directory cannot be written, or the token is damaged.
    """
    _make_folder(home)
    return read_or_create_key(home / "local" / "token")


@contextmanager
def only_server(home: Path) -> Generator[None]:
    """Be the only server of this state directory for the duration of the block.

    Raises:
        StoreError: `store_locked` if another server runs; or the state directory cannot be used.
    """
    _make_folder(home)
    path = home / _SERVER_LOCK
    try:
        lock = LivenessLock.acquire(path)
    except BlockingIOError:
        raise StoreError(
            f"A local server already runs on the state directory {home}.",
            hint="Use that server, end it first, or set another DOUBLEWORD_BATCH_HOME.",
            code="store_locked",
            retryable=True,
        ) from None
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def has_server(home: Path) -> bool:
    """Whether a server of this state directory lives, even if it does not answer yet."""
    return is_held(home / _SERVER_LOCK)


@contextmanager
def advertised(home: Path, server: RunningServer) -> Generator[None]:
    """Let `discover` find this server for the duration of the block.

    Raises:
        StoreError: the state directory cannot be written.
    """
    notice = _Notice(server.base_url, server.executor, server.note, server.pid)
    path = home / _NOTICE
    try:
        write_bytes(path, msgspec.json.encode(notice), private=True)
        # The lock is taken after the notice is written, and checked before it is read: a reader
        # that sees the lock held never reads the notice of a dead server, whose port may now be a
        # stranger's.
        lock = LivenessLock.acquire(home / _ADVERTISED_LOCK)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def discover(home: Path) -> RunningServer | None:
    """The server of this state directory, if it is alive and proves that it is ours."""
    notice = _notice_of_living_server(home)
    if notice is None:
        return None
    token = bearer_token(home)
    if not _proves_itself(notice, token):
        return None
    return RunningServer(notice.base_url, token, notice.executor, notice.note, notice.pid)


def is_serving(home: Path, base_url: str, pid: int | None = None) -> bool:
    """Whether the server of this state directory lives, at that address and as that process.

    Checked before each request that carries the token. Only a living server surely has its port; a
    dead server's port may now be a stranger's.
    """
    notice = _notice_of_living_server(home)
    if notice is None or notice.base_url != base_url:
        return False
    return pid is None or notice.pid == pid


def proof_of(token: str, challenge: str, port: int, pid: int) -> str:
    """The answer to a challenge that only a holder of the token can give, for its own port only.

    The port in it keeps a stranger from passing on the proof of a server on another port.
    """
    message = f"doubleword-batch local server\n{challenge}\n{port}\n{pid}"
    return hmac.new(token.encode(), message.encode(), "sha256").hexdigest()


def _notice_of_living_server(home: Path) -> _Notice | None:
    try:
        if is_held(home / _ADVERTISED_LOCK):
            return msgspec.json.decode((home / _NOTICE).read_bytes(), type=_Notice)
    except (OSError, ValueError, RecursionError):
        pass
    return None


def _proves_itself(notice: _Notice, token: str) -> bool:
    """Whether a server with the token answers there; the token itself is not sent."""
    address = urlsplit(notice.base_url)
    if address.scheme != "http" or address.hostname != "127.0.0.1" or not address.port:
        return False
    challenge = secrets.token_hex(16)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/health", headers={CHALLENGE_HEADER: challenge})
        response = connection.getresponse()
        body = json.loads(response.read(_MOST_HEALTH_BYTES))
        expected = proof_of(token, challenge, address.port, notice.pid)
        return response.status == 200 and hmac.compare_digest(body["proof"], expected)  # noqa: PLR2004  # HTTP OK
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return False
    finally:
        connection.close()


def _make_folder(home: Path) -> None:
    folder = home / "local"
    check_place(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path} cannot be used: {error}.",
        hint="Check the folder's permissions and free space, or set another DOUBLEWORD_BATCH_HOME.",
    )
