"""The provider's webhooks: when a batch ends, its job is refreshed at once and its end reported.

They are signed according to Standard Webhooks: HMAC-SHA256 over id, time and body, with a secret
from the provider. A message is only a hint: nothing but the batch's id is used, and the provider
itself is asked about the batch. Receiving it twice changes nothing.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anyio
import msgspec

from doubleword_batch.errors import ConfigError, DoublewordBatchError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.loopback import listen_on, serve_app
from doubleword_batch.settings import Secret

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

DEFAULT_PORT = 8087
TOLERANCE_SECONDS = 300
"""How old, or how far in the future, a message may be: an old one may be a replay."""

_PREFIX = "whsec_"
_ENDS = frozenset({"batch.completed", "batch.failed"})
_MOST_BYTES = 64 << 10
_MOST_SIGNATURES = 10
_MOST_DIGITS = 12  # of an epoch time
_ANSWER_SECONDS = 10.0
_BODY_SECONDS = 10.0
_BACKLOG = 16
_MOST_AT_ONCE = 200  # behind a tunnel anybody may connect

_log = logging.getLogger(__name__)


class _Data(msgspec.Struct):
    batch_id: str


class _Event(msgspec.Struct):
    type: str
    data: _Data | None = None


def is_signed(
    secret: Secret, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> bool:
    """Whether a message comes from the provider and is recent.

    Args:
        secret: as the provider shows it, `whsec_` and base64.
        headers: with names in lower case.
        body: as received.
        now: epoch seconds; the current time by default.

    Raises:
        ConfigError: the secret is not valid.
    """
    key = _key(secret)
    identity, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _MOST_DIGITS):
        return False
    if abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE_SECONDS:
        return False
    signed = b".".join((identity.encode(errors="replace"), stamp.encode(), body))
    wanted = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    given = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    return any(
        hmac.compare_digest(wanted, signature.encode(errors="replace")) for signature in given
    )


def _key(secret: Secret) -> bytes:
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not text.startswith(_PREFIX) or not key:
        raise ConfigError(
            "DOUBLEWORD_BATCH_WEBHOOK_SECRET is not the secret of a webhook.",
            hint="Copy it whole from the provider's page; it begins with whsec_.",
        )
    return key


def build_app(jobs: Jobs, secret: Secret) -> "Starlette":
    """The application that receives webhooks.

    Raises:
        ConfigError: the secret is not valid.
    """
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    _key(secret)

    async def take(request: "Request") -> "Response":
        body = b""
        try:
            with anyio.fail_after(_BODY_SECONDS):
                async for block in request.stream():
                    body += block
                    if len(body) > _MOST_BYTES:
                        return Response(status_code=413)
        except TimeoutError:
            return Response(status_code=408, headers={"Connection": "close"})
        if not is_signed(secret, request.headers, body):
            return Response(status_code=401)
        return Response(status_code=await _handle_event(jobs, body))

    return Starlette(routes=[Route("/{path:path}", take, methods=["POST"])])


async def _handle_event(jobs: Jobs, body: bytes) -> int:
    """Refresh the job that an event is about, and return the status code of the reply.

    503 makes the provider send it again; a message about another machine's batch is accepted too.
    """
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (ValueError, RecursionError):
        return 400
    if event.type not in _ENDS or event.data is None:
        return 204
    batch_id = event.data.batch_id.removeprefix("batch_")
    try:
        with anyio.fail_after(_ANSWER_SECONDS):
            is_known = await jobs.look_at_batch(batch_id, event.data.batch_id)
    except (DoublewordBatchError, TimeoutError) as error:
        _log.warning("The batch of a webhook could not be refreshed: %s", error)
        return 503
    _log.info(
        "A webhook announced the end of a batch %s", "of this machine" if is_known else "elsewhere"
    )
    return 204


def serve_webhook(
    jobs: Jobs, secret: Secret, *, port: int, on_ready: Callable[[str], None]
) -> None:
    """Receive webhooks on 127.0.0.1 until the process is told to end.

    Args:
        jobs: the jobs whose ends are reported; closed at the end.
        secret: the webhook's.
        port: 0 for any free port.
        on_ready: called with the address.

    Raises:
        ConfigError: code `port_in_use`, or the secret is not valid.
    """
    app = build_app(jobs, secret)
    listener = listen_on(port, who="The webhook", backlog=_BACKLOG)
    on_ready(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    serve_app(app, listener, close=jobs.close, most_at_once=_MOST_AT_ONCE)
