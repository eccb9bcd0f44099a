"""Speaks OpenAI's form of the API where it differs from the real server's (`--dialect openai`).

The routes know nothing about it: requests are translated to the real server's form before, and the
answers to OpenAI's form after. Source: OpenAI's reference of the Files and Batch APIs.
"""

import re
import uuid
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doubleword_batch.local.api.error_responses import openai_error
from doubleword_batch.local.api.query import MOST_BODY_BYTES
from doubleword_batch.local.executors.base import error_body
from doubleword_batch.local.store.batches import SERVER_METADATA

_PREFIXES = {"files": "file-", "batches": "batch_"}
_KINDS = {"files": "File", "batches": "Batch"}
_OF_ONE = re.compile(r"/v1/(files|batches)/([^/]+)(/.*)?")
_EXTENSIONS = {"/cost-estimate", "/results", "/analytics", "/retry", "/retry-requests"}
_LIST_PARAMETERS = {"after", "limit", "order", "purpose"}
_TIMES = (
    "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
    "cancelling_at", "cancelled_at",
)  # fmt: skip
_ENDED = {"completed", "failed", "cancelled", "expired"}
_LINES = "application/x-ndjson"
_CREATED, _OK, _ERRORS_FROM = 201, 200, 400


def openai_dialect(app: ASGIApp) -> ASGIApp:
    """ASGI middleware around the whole API: gives the answers of `app` as OpenAI would."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await app(scope, receive, send)
        elif refusal := await _refusal(app, scope):
            await refusal(scope, receive, send)
        else:
            if scope["method"] == "POST" and scope["path"] == "/v1/batches":
                receive = await _with_real_file_id(receive)
            await app(_in_real_form(scope), receive, _Answer(scope, send))

    return serve


async def _refusal(app: ASGIApp, scope: Scope) -> ASGIApp | None:
    """The error for what OpenAI does not have or does not do."""
    of_one = _OF_ONE.fullmatch(scope["path"])
    if of_one is None:
        return None
    kind, given, rest = of_one.groups()
    if rest in _EXTENSIONS or (scope["method"], kind, rest) == ("DELETE", "batches", None):
        method, path = scope["method"], scope["path"]
        return openai_error(404, f"Invalid URL ({method} {path})", "unknown_url")
    if _real_id(kind, given) is None:
        return openai_error(404, f"No such {_KINDS[kind]} object: {given}", "not_found")
    if scope["method"] == "POST" and rest == "/cancel":
        status = await _status(app, scope)
        if status in _ENDED:
            words = f"Cannot cancel a batch with status '{status}'."
            return openai_error(400, words, "invalid_request")
    return None


async def _status(app: ASGIApp, scope: Scope) -> str | None:
    """The status of the batch that a path is about; None if the server gives none."""
    seen: list[Message] = []

    async def see(message: Message) -> None:
        seen.append(message)

    path = scope["path"].rpartition("/")[0]
    look = {**scope, "method": "GET", "path": path, "query_string": b""}
    await app(_in_real_form(look), _nothing, _Answer(look, see))
    if not seen or seen[0]["status"] != _OK:  # a fault may have closed the connection
        return None
    shown = _own_object(b"".join(part["body"] for part in seen[1:]))
    return None if shown is None else shown["status"]


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


# Requests


def _in_real_form(scope: Scope) -> Scope:
    path = scope["path"]
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    of_one = _OF_ONE.fullmatch(path)
    if of_one is not None:
        kind, given, rest = of_one.groups()
        path = f"/v1/{kind}/{_real_id(kind, given)}{rest or ''}"
        query = {}  # OpenAI has no parameters here
    elif path in {"/v1/files", "/v1/batches"}:
        query = {name: value for name, value in query.items() if name in _LIST_PARAMETERS}
        if "after" in query:
            query["after"] = _real_id(path.rpartition("/")[2], query["after"]) or ""
    query_string = urlencode(query).encode("latin-1")
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": query_string}


async def _with_real_file_id(receive: Receive) -> Receive:
    """The same body with the input file's id in the server's form."""
    body, more = bytearray(), True
    while more and len(body) <= MOST_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        fields = msgspec.json.decode(bytes(body))
    except (ValueError, RecursionError):
        fields = None  # the route that answers it says what is wrong
    if isinstance(fields, dict) and "input_file_id" in fields:
        fields = cast("dict[str, Any]", fields)
        given = str(fields["input_file_id"])
        fields["input_file_id"] = _real_id("files", given) or str(uuid.UUID(int=0))
        body = bytearray(msgspec.json.encode(fields))

    async def again() -> Message:
        return {"type": "http.request", "body": bytes(body), "more_body": more}

    return again


def _real_id(kind: str, given: str) -> str | None:
    prefix = _PREFIXES[kind]
    try:
        return str(uuid.UUID(hex=given[len(prefix) :])) if given.startswith(prefix) else None
    except ValueError:
        return None


# Answers


class _Answer:
    """Passes an answer on in OpenAI's form: objects and errors as a whole, lines as they come."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            if self._has_lines:
                headers = MutableHeaders(raw=[*message.get("headers", ())])
                for name in ("x-incomplete", "x-last-line", "content-length"):
                    if name in headers:
                        del headers[name]
                await self._send({**message, "headers": headers.raw})
            return
        self._body += message.get("body", b"")
        is_last = not message.get("more_body", False)
        if self._has_lines:
            end = len(self._body) if is_last else self._body.rfind(b"\n") + 1
            lines = b"".join(
                _line(bytes(line)) for line in self._body[:end].splitlines(keepends=True)
            )
            del self._body[:end]
            await self._send({**message, "body": lines})
        elif is_last:
            await self._answer()(self._scope, _nothing, self._send)

    @property
    def _has_lines(self) -> bool:
        kind = Headers(raw=[*self._start.get("headers", ())]).get("content-type", "")
        return kind.startswith(_LINES) and self._start["status"] < _ERRORS_FROM

    def _answer(self) -> Response:
        status = _OK if self._start["status"] == _CREATED else self._start["status"]
        headers = dict(Headers(raw=[*self._start.get("headers", ())]))
        headers.pop("content-length", None)
        body = bytes(self._body)
        if status >= _ERRORS_FROM and not headers.get("content-type", "").startswith(
            "application/json"
        ):
            headers.pop("content-type", None)
            return openai_error(status, body.decode("utf-8", "replace"), "invalid_request", headers)
        if status < _ERRORS_FROM and self._scope["path"].startswith(("/v1/files", "/v1/batches")):
            is_cancel = self._scope["path"].endswith("/cancel")
            if (shown := _own_object(body)) is not None:
                body = msgspec.json.encode(_object(shown, is_cancel=is_cancel))
        return Response(body, status, headers)


def _own_object(body: bytes) -> dict[str, Any] | None:
    """An object of this server; None for one that a fault has put in its place."""
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    is_own = isinstance(shown, dict) and "object" in shown
    return cast("dict[str, Any]", shown) if is_own else None


def _object(shown: dict[str, Any], *, is_cancel: bool = False) -> dict[str, Any]:
    if shown["object"] == "list":
        data = [_object(listed) for listed in shown["data"]]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        return {**shown, "data": data, "first_id": None, "last_id": None, **ends}
    if shown["object"] == "file":
        return {**shown, "id": _openai_id("files", shown["id"])}
    return _batch(shown, is_cancel=is_cancel)


def _batch(shown: dict[str, Any], *, is_cancel: bool) -> dict[str, Any]:
    times = {name: shown.get(name) for name in _TIMES}
    counts = shown["request_counts"]
    status = shown["status"]
    if status == "failed":  # at OpenAI only a rejected batch fails; one with failed rows completes
        status, times["completed_at"], times["failed_at"] = "completed", times["failed_at"], None
    if times["expired_at"] is not None and status == "completed":
        status, times["completed_at"] = "expired", None
    if status != "expired":
        times["expired_at"] = None
    has_ended = status in _ENDED
    if is_cancel:
        status, times["cancelled_at"] = "cancelling", None
    metadata = {k: v for k, v in shown["metadata"].items() if k not in SERVER_METADATA}
    files = {
        name: _openai_id("files", shown[name]) if has_ended and counts[count] else None
        for name, count in (("output_file_id", "completed"), ("error_file_id", "failed"))
    }
    return {
        **shown,
        **times,
        **files,
        "id": _openai_id("batches", shown["id"]),
        "errors": None,
        "input_file_id": _openai_id("files", shown["input_file_id"]),
        "status": status,
        "metadata": metadata or None,
    }


def _openai_id(kind: str, real: str) -> str:
    return _PREFIXES[kind] + real.replace("-", "") if real else ""


def _line(line: bytes) -> bytes:
    """A line of an error file: the model server's response, or an error with a code."""
    if b'"response":null,"error":{' not in line:
        return line
    fields = msgspec.json.decode(line)
    if not fields.get("error"):  # the text is a whole body
        return line
    reason = msgspec.json.decode(fields["error"]["message"])
    kind, details = reason["type"], reason.get("details", {})
    if "status" in details:
        body = _error_body(details["body"], details["status"])
        response = {"status_code": details["status"], "request_id": fields["id"], "body": body}
        fields |= {"response": response, "error": None}
    else:
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
        fields["error"] = {"code": code, "message": details.get("error") or kind}
    return msgspec.json.encode(fields) + b"\n"


def _error_body(text: str, status: int) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and "error" in body:
        return cast("dict[str, Any]", body)
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # HTTP
    return error_body(text, kind)
