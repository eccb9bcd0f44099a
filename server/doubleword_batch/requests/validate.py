"""Checks any request file: finds all faults of all lines in one pass, before money is spent.

Servers stop at the first fault, and do not see some (two lines with the same custom_id). Most lines
are read the fast way (`plain_lines`), others get a closer look; `line_checks` finds out what is
wrong with a broken line.
"""

import difflib
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.providers import Profile
from doubleword_batch.requests.findings import Findings, ValidationReport
from doubleword_batch.requests.line_checks import (
    SeenIds,
    content_fault,
    diagnose,
    inputs_of,
    media_fault,
)
from doubleword_batch.requests.plain_lines import read_plain
from doubleword_batch.requests.spec import EMBEDDINGS, RESPONSES
from doubleword_batch.requests.token_estimates import BYTES_PER_TOKEN
from doubleword_batch.sources.base import quoted_name

# Servers also take these, besides the endpoints that jobs are built for.
_ALSO_TAKEN = ("/v1/completions", "/v1/messages")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_AROUND_A_BODY = 4096  # bytes that a line may have besides its body and still be read whole
_IDS_AT_ONCE = 1000
_MODELS_SHOWN = 10
_QUOTED = 80
_READ_BYTES = 1 << 18
_METHOD = "POST"
_IMAGES = (b'"image_url"', b'"input_image"')


class _CheckedBody(msgspec.Struct):
    model: str
    stream: Any = None
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


class _CheckedLine(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: _CheckedBody


_decode = msgspec.json.Decoder(_CheckedLine).decode


def _read(line: bytes) -> _CheckedLine | None:
    try:
        if not line.isascii():
            str(line, "utf-8")  # msgspec does not check fields that are not declared
        return None if is_too_deep(line) else _decode(line)
    except (ValueError, RecursionError):
        return None


def validate_request_file(
    path: Path, profile: Profile, models: Collection[str] = ()
) -> ValidationReport:
    """Check a request file against the format and a provider's limits.

    Memory does not grow with the lines.

    Args:
        path: the file.
        profile: the provider.
        models: the models that the key may use; empty if they are not known.

    Raises:
        InputError: code `file_not_found` or `not_readable`. Faults inside the file do not raise;
            they are in the report.
    """
    try:
        with open_regular(path.resolve(), _READ_BYTES) as stream, SeenIds() as seen:
            return _Check(path, profile, models, seen).run(stream)
    except FileNotFoundError:
        raise InputError(
            f"There is no file {quoted_name(path)}.", hint="Check the path.", code="file_not_found"
        ) from None
    except OSError as error:
        raise not_readable(
            quoted_name(path), error, "Give a JSONL file that can be read."
        ) from None


class _Check:
    def __init__(
        self, path: Path, profile: Profile, models: Collection[str], seen: SeenIds
    ) -> None:
        self._path = path
        self._known_models = models
        self._profile = profile
        self._urls = frozenset((*profile.endpoints, *_ALSO_TAKEN))
        self._longest_id = profile.max_custom_id_bytes
        self._longest_line = profile.max_request_bytes + _AROUND_A_BODY
        self._found = Findings()
        self._seen = seen
        self._url: str | None = None  # of the first line
        self._usual_url: str | None = None  # if it is accepted and inputs need no count
        self._one_url = True
        self._models: dict[str, None] = {}
        self._requests = 0
        self._inputs = 0

    def run(self, stream: BinaryIO) -> ValidationReport:
        longest, models, usual_url = self._profile.max_request_bytes, self._models, self._usual_url
        ids: list[str] = []  # of the last lines, in which nothing else is wrong
        number = bytes_read = 0
        for number, line in enumerate(self._lines(stream), 1):
            bytes_read += (size := len(line))
            request = read_plain(line)
            # Most lines are like earlier ones; only their custom_ids are left to check.
            if (
                request is not None
                and request.url == usual_url
                and request.body.model in models
                and request.method == _METHOD
                and size <= longest
            ):
                ids.append(request.custom_id)
                if len(ids) == _IDS_AT_ONCE:
                    self._check_ids(ids, number + 1)
                continue
            self._check_ids(ids, number)
            if number == 1 and line.startswith(_UTF_16):
                self._requests = 1
                self._found.add("bad_utf8", 1, "The file is UTF-16; nothing in it can be read.")
                break
            self._line(number, self._without_bom(line) if number == 1 else line)
            usual_url = self._usual_url
        self._check_ids(ids, number + 1)
        self._whole_file(size_bytes := self._path.stat().st_size)
        groups = self._found.groups()
        return ValidationReport(
            path=self._path,
            requests=self._requests,
            size_bytes=size_bytes,
            ok=all(group.severity != "error" for group in groups),
            endpoint=self._url if self._one_url else None,
            models=tuple(self._models)[:_MODELS_SHOWN],
            input_tokens=bytes_read // BYTES_PER_TOKEN,
            groups=groups,
        )

    def _lines(self, stream: BinaryIO) -> Iterator[bytes]:
        """The lines; a line beyond the limit is cut short, as it is only counted."""
        longest = self._longest_line
        read = partial(stream.readline, longest + 1)
        for line in iter(read, b""):
            yield line
            rest = line
            while len(rest) > longest and not rest.endswith(b"\n"):
                rest = read()

    def _without_bom(self, first_line: bytes) -> bytes:
        if first_line.startswith(BOM_UTF8):
            self._found.add("bom", 1, "The file begins with a byte order mark.")
        return first_line.removeprefix(BOM_UTF8)

    def _line(self, number: int, line: bytes) -> None:
        if not line or line.isspace():
            self._found.add("blank_line", number, "The line is blank.")
            return
        self._requests += 1
        if len(line) > self._longest_line:
            self._found.add("body_too_large", number, self._too_large("more"))
            return
        request = read_plain(line) or _read(line)
        if request is None:
            self._broken(number, line)
            return
        self._custom_id(number, request.custom_id)
        if request.method != _METHOD:
            self._method(number, request.method)
        if request.url != self._usual_url:
            self._target(number, request.url)
        if request.body.model not in self._models:
            self._model(number, request.body.model)
        if isinstance(request, _CheckedLine):
            self._content(number, request, line)
        if request.url == EMBEDDINGS and self._profile.max_embedding_inputs is not None:
            self._inputs += inputs_of(_body_of(line))
        if len(line) > self._profile.max_request_bytes:
            self._size(number, line)

    def _broken(self, number: int, line: bytes) -> None:
        diagnosis = diagnose(line)
        for kind, message in diagnosis.faults:
            self._found.add(kind, number, message)
        checks = {
            "custom_id": self._custom_id,
            "method": self._method,
            "url": self._target,
            "model": self._model,
        }
        for name, text in diagnosis.texts.items():
            checks[name](number, text)

    def _check_ids(self, ids: list[str], end: int) -> None:
        """Check the custom_ids of the lines before `end`, all at once unless some are odd.

        The list is empty afterwards, ready for the next lines.
        """
        if not ids:
            return
        self._requests += len(ids)
        text = "".join(ids)
        fit = text.isascii() and text.isprintable() and len(max(ids, key=len)) <= self._longest_id
        first = end - len(ids)
        if not (fit and all(ids) and self._seen.add_new(ids, first)):
            for number, custom_id in enumerate(ids, first):
                self._custom_id(number, custom_id)
        ids.clear()

    def _custom_id(self, number: int, custom_id: str) -> None:
        if not custom_id:
            self._found.add("custom_id_missing", number, "custom_id is empty.")
            return
        key = custom_id
        is_safe = custom_id.isascii() and custom_id.isprintable()
        if not is_safe or len(custom_id) > self._longest_id:
            key = self._odd_custom_id(number, custom_id, is_safe=is_safe)
        other = self._seen.other_line(key, number)
        if other is not None:
            name = quote_untrusted(custom_id, _QUOTED)
            message = f"custom_id {name} is also on line {other}."
            self._found.add("custom_id_duplicate", number, message)

    def _odd_custom_id(self, number: int, custom_id: str, *, is_safe: bool) -> str:
        """Report the id; return the key under which duplicates of it are looked for."""
        name = quote_untrusted(custom_id, _QUOTED)
        if not is_safe:
            what = "has a control character" if custom_id.isascii() else "is not ASCII"
            self._found.add("custom_id_not_header_safe", number, f"custom_id {name} {what}.")
        size = len(custom_id.encode())
        if size <= self._longest_id:
            return custom_id
        message = f"custom_id {name} has {size} bytes; {self._longest_id} are allowed."
        self._found.add("custom_id_too_long", number, message)
        return blake2b(custom_id.encode()).hexdigest()

    def _method(self, number: int, method: str) -> None:
        if method.upper() != _METHOD:
            self._found.add("method", number, f"method is {quote_untrusted(method, _QUOTED)}.")

    def _target(self, number: int, url: str) -> None:
        if url not in self._urls:
            taken = ", ".join(sorted(self._urls))
            message = f"url is {quote_untrusted(url, _QUOTED)}; {taken} are accepted."
            self._found.add("url", number, message)
        if self._url is None:
            self._url = url
            inputs_count = url == EMBEDDINGS and self._profile.max_embedding_inputs is not None
            self._usual_url = url if url in self._urls and not inputs_count else None
        elif url != self._url:
            self._one_url = False
            message = (
                f"url is {quote_untrusted(url, _QUOTED)}, but on the first line "
                f"{quote_untrusted(self._url, _QUOTED)}."
            )
            self._found.add("mixed_urls", number, message)

    def _model(self, number: int, model: str) -> None:
        if model in self._models:
            return
        if not model.strip():
            self._found.add("model_missing", number, "body.model is empty.")
            return
        if self._known_models and model not in self._known_models:
            near = difflib.get_close_matches(model, self._known_models, n=1)
            question = f"; did you mean {quote_untrusted(near[0], _QUOTED)}?" if near else "."
            name = quote_untrusted(model, _QUOTED)
            if self._profile.refuses_unlisted_models:
                self._found.add("model_unknown", number, f"There is no model {name}{question}")
                return
            message = f"The provider's list has no model {name}{question}"
            self._found.add("model_not_listed", number, message)
        if len(self._models) < _MODELS_SHOWN:
            self._models[model] = None

    def _content(self, number: int, request: _CheckedLine, line: bytes) -> None:
        """Check what the request asks, as far as possible without reading all of it."""
        if request.body.stream:
            self._found.add("stream", number, "body.stream is on.")
        fault = content_fault(request.url, request.body)
        if fault and request.url == RESPONSES and not request.body.input:
            names = msgspec.json.decode(_body_of(line), type=dict[str, msgspec.Raw])
            fault = content_fault(request.url, request.body, names)
        if fault:
            self._found.add("content", number, fault)
        try:
            fault = media_fault(request.body)
        except ValueError:
            message = "The line holds a number that is out of range."
            self._found.add("not_json", number, message)
        else:
            if fault:
                self._found.add("media_address", number, fault)
        model = request.body.model
        if model in self._profile.text_only and any(mark in line for mark in _IMAGES):
            message = f"The model {quote_untrusted(model, _QUOTED)} does not take images."
            self._found.add("image_for_text_model", number, message)

    def _size(self, number: int, line: bytes) -> None:
        size = len(bytes(_body_of(line)))
        if size > self._profile.max_request_bytes:
            self._found.add("body_too_large", number, self._too_large(str(size)))

    def _too_large(self, size: str) -> str:
        return f"The body has {size} bytes; {self._profile.max_request_bytes} are allowed."

    def _whole_file(self, size_bytes: int) -> None:
        for line, other in self._seen.late_duplicates():
            self._found.add("custom_id_duplicate", line, f"Its custom_id is also on line {other}.")
        if not self._requests:
            self._found.add("no_requests", 0, "There is no request in the file.")
        most = self._profile.max_requests
        if self._requests > most:
            message = f"The file holds {self._requests} requests; {most} are allowed."
            self._found.add("too_many_requests", 0, message)
        if self._inputs > (most_inputs := self._profile.max_embedding_inputs or self._inputs):
            message = f"The file embeds {self._inputs} inputs; {most_inputs} are allowed."
            self._found.add("too_many_inputs", 0, message)
        if size_bytes > self._profile.max_file_bytes:
            message = (
                f"The file has {size_bytes} bytes; {self._profile.max_file_bytes} are allowed."
            )
            self._found.add("file_too_large", 0, message)


def _body_of(line: bytes) -> msgspec.Raw:
    return msgspec.json.decode(line, type=dict[str, msgspec.Raw])["body"]
