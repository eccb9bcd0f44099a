"""The files and batches API over urllib: the key goes to the base URL and nowhere else."""

from __future__ import annotations

import http.client
import json
import secrets
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Optional
from urllib.parse import quote, urlencode, urlsplit

from batchkit import strict_json
from batchkit.backoff import RetryBudget, TimeLimit
from batchkit.cli import Exit, ScriptError, quoted
from batchkit.connections import (
    Deadline,
    NotConnectedError,
    PlainHandler,
    Request,
    TLSHandler,
    in_no_proxy_block,
)
from batchkit.errors import (
    ApiError,
    IncompleteListError,
    TransportError,
    TruncatedFileError,
    read_error_reply,
)
from batchkit.file_encoding import EncodingError, FileDecoder, UnsupportedEncodingError
from batchkit.line_layout import LineLayout
from batchkit.long_lines import LineCutter
from batchkit.redaction import redacted, redacted_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchkit.settings import Settings

Params = dict[str, Any]
Find = Callable[[], Optional[str]]

_TIMEOUT_SECONDS = 120
_BLOCK_BYTES = 1 << 16
_LONGEST_JSON = 1 << 22
_LONGEST_LINE = 1 << 26
_BLANK_OR_BOM = b" \t\r\n\xef\xbb\xbf"
_BEGINNINGS = (b"{", b"[", b"data:", b"event:", b"id:", b":", b"\x1e")  # events too
_BAD_REQUEST, _NOT_ACCEPTED = 400, 401
_KEY_WAS_GOOD = (
    "The key was accepted before; a server whose database is away also answers so: run the same "
    "command again in a few minutes."
)
_NOT_CHECKED = (
    "It cannot list its models either: something behind it, such as its database, is away. Run the "
    "same command again in a few minutes; the key may be valid."
)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could send the key to another host, so it is treated as an ordinary answer."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


class Api:
    """One server.

    Args:
        settings: its address and the key for it.
        retry_seconds: how long a request that may be repeated is retried.
        time_limit: the time that a person allows for everything; unlimited without it.

    Attributes:
        time_limit: the same.
    """

    def __init__(
        self, settings: Settings, retry_seconds: float, time_limit: TimeLimit | None = None
    ) -> None:
        self.time_limit = time_limit or TimeLimit(None)
        self._settings = settings
        self._retry_seconds = retry_seconds
        self._key_works = False
        self._has_asked = False  # for the models, to find out what a refusal means
        # A proxy for plain http would see the key that is meant for this machine.
        is_direct = settings.is_loopback or in_no_proxy_block(settings.base_url)
        proxies = [urllib.request.ProxyHandler({})] if is_direct else []
        self._opener = urllib.request.build_opener(_NoRedirects, PlainHandler, TLSHandler, *proxies)

    def retry_budget(self) -> RetryBudget:
        """The time in which a failed request is retried."""
        return RetryBudget(self._retry_seconds, self.time_limit)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET an object; retried as long as that may help."""
        return self._repeated(lambda: self._object("GET", path, params))

    def post(
        self, path: str, body: dict[str, Any] | None = None, find: Find | None = None
    ) -> dict[str, Any]:
        """POST JSON; repeated only after answers that say that nothing was done (429).

        Args:
            path: where to.
            body: the JSON value.
            find: returns the id of what an earlier try has made after all; called before a retry.
        """
        data = strict_json.encode(body or {})
        headers = {"Content-Type": "application/json"}
        return self._repeated(
            lambda: self._object("POST", path, {}, data, headers), write=True, find=find
        )

    def upload(self, path: Path, name: str, find: Find | None = None) -> dict[str, Any]:
        """Upload a request file under a name, streamed from disk; `find` as in `post`."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
            "\r\nContent-Type: application/jsonl\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        return self._repeated(
            lambda: self._object("POST", "/files", {}, _pieces(head, path, tail), headers),
            write=True,
            find=find,
        )

    def lines(self, path: str, skip: int) -> Iterator[bytes]:
        """Blocks of whole lines at a path from line `skip` on, each line ending in a line feed.

        Raises:
            TransportError: the connection was cut; the lines before the cut have been delivered.
        """
        deadline = Deadline(self.time_limit.for_a_wait(_TIMEOUT_SECONDS))
        params = {"skip": skip} if skip else {}
        with self._opened("GET", path, params, deadline=deadline) as response:
            knows_skip = response.headers.get("X-Incomplete") is not None
            blocks = _opened_up(_blocks(response, path), path)
            lines = _whole_lines(blocks, path, deadline)
            for block in lines if knows_skip else _without_first(lines, skip):
                yield redacted_lines(block, self._settings.key)

    def _repeated(
        self,
        send: Callable[[], dict[str, Any]],
        *,
        write: bool = False,
        find: Find | None = None,
    ) -> dict[str, Any]:
        retry_budget = self.retry_budget()
        while True:
            try:
                return send()
            except (ApiError, TransportError) as error:  # noqa: PERF203  # a retry needs it
                if write and error.may_have_happened:
                    raise
                retry_budget.wait_after(error)
                made = _made(find, error) if find is not None else None
                if made is not None:
                    return {"id": made}

    def _object(
        self, method: str, path: str, params: Params, data: Any = None, headers: Any = None
    ) -> dict[str, Any]:
        with self._opened(method, path, params, data, headers) as response:
            content = _read(response, f"{method} {path}", _LONGEST_JSON)
        content = redacted_lines(content, self._settings.key)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            if content.lstrip().startswith(b"{") and not content.rstrip().endswith(b"}"):
                raise TransportError(
                    f"{method} {path}", "it is cut", may_have_happened=True
                ) from None
            value = None
        if not isinstance(value, dict):
            raise ScriptError(
                Exit.NO_CONNECTION,
                f"The answer to {method} {path} is not this API's: {quoted(_shown(content), 80)}.",
                "Check DOUBLEWORD_BASE_URL; it ends in /v1.",
            )
        return value

    @contextmanager
    def _opened(
        self,
        method: str,
        path: str,
        params: Params,
        data: Any = None,
        headers: Any = None,
        deadline: Deadline | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        asked = f"{method} {path}"
        url = self._settings.base_url + path + ("?" + urlencode(params) if params else "")
        request = Request(url, data, headers or {}, method=method)
        # A write is under way once it is sent: a client that leaves then does not know its effect.
        seconds = self.time_limit.for_a_wait(_TIMEOUT_SECONDS)
        request.deadline = deadline or Deadline(seconds if data is None else _TIMEOUT_SECONDS)
        request.add_unredirected_header("User-Agent", "doubleword-batch-skill")
        if self._settings.key:
            request.add_unredirected_header("Authorization", f"Bearer {self._settings.key}")
        try:
            response = self._opener.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, asked) from None
        except (OSError, http.client.HTTPException) as error:
            # urllib puts a proxy in the place of the server, and its password into a header
            is_direct = request.host == urlsplit(url).netloc
            way = "" if is_direct else f" through the proxy {request.host}"
            raise _lost(asked + way, error) from None
        with closing(response):
            packed = response.headers.get("Content-Encoding", "identity")
            if packed.lower() != "identity":  # a small answer could unpack to any size
                raise ScriptError(
                    Exit.NO_CONNECTION,
                    f"The answer to {asked} is packed as {quoted(packed, 40)}, which was not "
                    "requested.",
                    "Check DOUBLEWORD_BASE_URL.",
                )
            self._key_works = True
            yield response

    def _refused(self, error: urllib.error.HTTPError, asked: str) -> ScriptError:
        try:
            content = error.read(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException):
            content = b""
        read = read_error_reply(content)
        reason = redacted(read.message, self._settings.key)
        if error.code < _BAD_REQUEST:
            reason = "a redirect, which is not followed: the key stays with DOUBLEWORD_BASE_URL"
        seconds = error.headers.get("Retry-After", "")
        return ApiError(
            error.code,
            asked,
            reason,
            float(seconds) if seconds.isdecimal() else None,
            outage=self._outage(content) if error.code == _NOT_ACCEPTED else None,
            codes=read.codes,
        )

    def _outage(self, content: bytes) -> str | None:
        """Why a refusal of the key need not mean a wrong key; None if it may.

        A server whose database is away refuses every key. It cannot list its models either.
        """
        if self._key_works:
            return _KEY_WAS_GOOD
        if self._has_asked or b'"code"' in content:  # a code says that the key is wrong
            return None
        self._has_asked = True
        try:
            with self._opened("GET", "/models", {}):
                self._key_works = False  # the list may be public
        except TransportError:
            return _NOT_CHECKED
        except ScriptError as error:
            return _NOT_CHECKED if getattr(error, "is_repeatable", False) else None
        finally:
            self._has_asked = False
        return None


def _made(find: Find, error: ApiError | TransportError) -> str | None:
    """What a refused write has made after all; None if it may be sent again."""
    try:
        return find() if isinstance(error, ApiError) else None
    except IncompleteListError:
        if not error.says_not_taken:
            raise error from None
        return None


def safe(server_id: str) -> str:
    """The server's id, usable as one path segment."""
    if not server_id or set(server_id) <= {"."}:
        raise ScriptError(Exit.NO_CONNECTION, f"{quoted(server_id, 80)} is not an id.")
    return quote(server_id, safe="")


def _pieces(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as content:
        yield from iter(lambda: content.read(_BLOCK_BYTES), b"")
    yield tail


def _lost(asked: str, error: Exception) -> TransportError:
    reason = getattr(error, "reason", error)
    may_have = not isinstance(reason, NotConnectedError)
    return TransportError(asked, str(reason) or type(reason).__name__, may_have_happened=may_have)


def _read(response: http.client.HTTPResponse, asked: str, limit: int) -> bytes:
    try:
        return response.read(limit)
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(asked, str(error), may_have_happened=True) from None


def _blocks(response: http.client.HTTPResponse, path: str) -> Iterator[bytes]:
    asked = f"GET {path}"
    length = "" if response.chunked else response.headers.get("Content-Length", "")
    received = 0
    try:
        while True:
            block = response.read1(_BLOCK_BYTES)  # what has arrived, without waiting for more
            if not block:
                break
            received += len(block)
            yield block
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise TransportError(asked, reason, may_have_happened=False) from None
    if length.isdecimal() and received < int(length):
        raise TransportError(asked, "the answer was cut", may_have_happened=False)


def _opened_up(blocks: Iterator[bytes], path: str) -> Iterator[bytes]:
    """The blocks of a file as lines, whatever format and layout the server keeps it in."""
    form, layout = FileDecoder(), LineLayout()
    try:
        for block in blocks:
            for piece in form.decoded(block):
                yield layout.lines_of(piece)
        for piece in form.rest():
            yield layout.lines_of(piece)
    except UnsupportedEncodingError as error:
        raise ScriptError(
            Exit.NO_CONNECTION,
            f"The file behind GET {path} is {error}, which cannot be read here.",
            "Nothing has to be paid again: the answers are in that file. Download it.",
        ) from None
    except EncodingError as error:
        raise TransportError(f"GET {path}", f"the file {error}", may_have_happened=False) from None
    if not form.is_whole:
        raise TransportError(f"GET {path}", "the packed file was cut", may_have_happened=False)
    yield layout.rest()


def _whole_lines(blocks: Iterator[bytes], path: str, deadline: Deadline) -> Iterator[bytes]:
    """Turn blocks into blocks of whole lines; only result lines renew the deadline."""
    cutter = LineCutter(_LONGEST_LINE)
    is_checked = False
    for block in blocks:
        if not is_checked and (beginning := (cutter.rest + block).lstrip(_BLANK_OR_BOM)):
            is_checked = True
            if not beginning.startswith(_BEGINNINGS):
                raise ScriptError(
                    Exit.NO_CONNECTION,
                    f"GET {path} gives no result lines: {quoted(_shown(block), 80)}.",
                    "Check DOUBLEWORD_BASE_URL.",
                )
        lines = cutter.whole_lines(block)
        if b'"custom_id"' in lines:
            deadline.renew()
        if lines:
            yield lines
    last = cutter.last_line()
    if last is None:
        raise TruncatedFileError(f"GET {path}", "its last line is cut", may_have_happened=False)
    if last:
        yield last


def _without_first(blocks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """For servers that ignore `skip` and send the whole file each time."""
    for block in blocks:
        left = block
        while lines and left:
            lines -= 1
            left = left[left.index(b"\n") + 1 :]
        if left:
            yield left


def _shown(content: bytes) -> str:
    return content[:2000].decode("utf-8", "replace")
