"""One request line: made from a row, with a custom_id that leads back to it, and read again."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.loose_json import decode
from doubleword_batch.plain_text import is_blank
from doubleword_batch.providers import Profile
from doubleword_batch.requests.keys import BodyPieces, RequestKeys, by_value
from doubleword_batch.requests.spec import EMBEDDINGS, RESPONSES, RequestSpec
from doubleword_batch.requests.template import Template
from doubleword_batch.sources.base import Row, Source
from doubleword_batch.sources.images import ImageReader
from doubleword_batch.sources.values import as_text

_CUSTOM_ID_BYTES = 64  # every known provider takes as many

ROW_PREFIX = "r"
"""Comes before the row's number in a custom_id."""

_NOT_IN_A_SLUG = re.compile(r"[^A-Za-z0-9._]+")
_OURS = re.compile(ROW_PREFIX + r"([1-9][0-9]{0,17})(?:-[A-Za-z0-9._-]+)?")

_ABSENT = object()  # a missing column is not a blank: the row is faulty
_ROW_NAMES = frozenset({"id", "name", "path", "title", "document", "position"})

_BEFORE_ID = b'{"custom_id":"'
_END = b"}\n"

_encode = msgspec.json.Encoder().encode


def custom_id_for(row: int, label: str | None, max_bytes: int = _CUSTOM_ID_BYTES) -> str:
    """The custom_id of a row: `r17`, or `r17-order-4711` with the label's printable letters.

    Args:
        row: number from 1; it alone makes the id unique.
        label: value of the id column, so that people recognise the row.
        max_bytes: maximum length of the id; the label is cut to fit.
    """
    number = f"{ROW_PREFIX}{row}"
    if not label:
        return number
    plain = label[: 4 * max_bytes]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    slug = _NOT_IN_A_SLUG.sub("-", plain).strip("-")
    slug = slug[: max(max_bytes - len(number) - 1, 0)].rstrip("-")
    return f"{number}-{slug}" if slug else number


def row_of(custom_id: str) -> int | None:
    """The row number in a custom_id that `custom_id_for` made, None in any other."""
    found = _OURS.fullmatch(custom_id)
    return int(found[1]) if found else None


class _Named(msgspec.Struct):
    custom_id: str


def requests_of_rows(path: Path, rows: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """(row, request line) of these rows, in the order of the file; we built the file."""
    named = msgspec.json.Decoder(_Named).decode
    with path.open("rb") as lines:
        for line in filter(bytes.strip, lines):
            row = row_of(named(line).custom_id)
            if row is not None and row in rows:
                yield row, line


class HeadBody(msgspec.Struct):
    """The fields of a request's body that are read back; the parameters may be of any type."""

    model: str = ""
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    modalities: Any = None
    audio: Any = None
    include: Any = None


class RequestHead(msgspec.Struct):
    """What is read back from a request line, whoever made it."""

    custom_id: str = ""
    url: str = ""
    body: HeadBody = msgspec.field(default_factory=HeadBody)


_decode_head = msgspec.json.Decoder(RequestHead).decode


def read_head(line: bytes) -> RequestHead:
    """Decode a request line, even if only lenient parsers take its JSON.

    Raises:
        ValueError: it is not a request line.
    """
    try:
        return _decode_head(line)
    except (ValueError, RecursionError):
        return msgspec.convert(decode(line), RequestHead)


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """A row's line with its newline, and the sizes of its body and of the image in the body.

    Attributes:
        key: the request's key, see `RequestKeys`; empty if keys are not wanted.
    """

    custom_id: str
    line: bytes
    body_bytes: int
    image_bytes: int
    key: bytes = b""


class RequestLines:
    """Makes request lines from rows.

    Args:
        spec: what to ask, already checked.
        source: its columns are the names that the templates may use.
        profile: its limits hold for every line.
        images: reads the image column's values; None if there is no such column.
        keys: makes the requests' keys; None if they are not wanted.

    Attributes:
        is_constant: nothing from a row goes into its request, so every request is the same.
        columns: the source's columns.
        columns_to_copy: the columns that the prompts use, and those by which people know a row.
        blank_cells: by column that a prompt inserts, how many rows are sent although it is blank.
    """

    def __init__(
        self,
        spec: RequestSpec,
        source: Source,
        profile: Profile,
        images: ImageReader | None = None,
        keys: RequestKeys | None = None,
    ) -> None:
        columns = self.columns = source.columns
        limit = profile.max_request_bytes
        self._prompt = Template(spec.prompt, columns, max_characters=limit)
        self._system: Template | None = None
        if spec.system is not None:
            self._system = Template(
                spec.system, columns, name="system prompt", max_characters=limit
            )
        self.is_constant = (
            images is None
            and self._prompt.is_constant
            and (self._system is None or self._system.is_constant)
        )
        used = self._prompt.columns
        if self._system is not None:
            used |= self._system.columns
        content = [name for name in columns if name in used]
        self._content = [n for n in content if n not in source.label_columns] or content
        self.columns_to_copy = _columns_to_copy(spec, source, used)
        self._sends_blanks = spec.blanks == "send" or not content
        self.blank_cells: dict[str, int] = {}
        self._inserted = self._counted_for_blanks(spec)
        self._images = images
        self._image_column = spec.image_column or ""
        self._endpoint = spec.endpoint
        body = _body_pieces(spec)
        self._key = None if keys is None else keys.maker(_body_pieces(spec, in_order=True))
        self._after_id = f'","method":"POST","url":"{spec.endpoint}","body":'.encode() + body.begin
        self._places = body.places
        self._around_body = len(_BEFORE_ID) + len(self._after_id) - len(body.begin) + len(_END)
        self._most_in_body = limit
        self._most_in_line = profile.max_file_bytes
        self._id_column = spec.id_column
        self._longest_id = profile.max_custom_id_bytes

    def line(self, number: int, row: Row) -> RequestLine | None:
        """The request line of row `number`; None for a blank row that is not to be sent.

        Raises:
            InputError: a template cannot be rendered, or the image cannot be read, for this row;
                `request_too_large`: its body, or its image, is larger than the provider takes.
        """
        if not self._sends_blanks and self._is_blank(row):
            return None
        try:
            custom_id = self._custom_id(number, row)
            system = None if self._system is None else self._system.render(row)
            image = None
            if self._images is not None:
                image = self._images.url(row.get(self._image_column))
            prompt = self._prompt.render(row)
            content = prompt if image is None else _with_image(self._endpoint, prompt, image)
            texts = {"prompt": _encode(content)}
            if system is not None:
                texts["system"] = _encode(system)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"It cannot be written as JSON: {error}.",
                hint="Correct that row's text.",
                code="malformed_row",
            ) from None
        pieces = [_BEFORE_ID, custom_id.encode(), self._after_id]
        for name, after in self._places:
            pieces += texts[name], after
        pieces.append(_END)
        line = b"".join(pieces)
        body_bytes = len(line) - self._around_body - len(custom_id)  # ids are ASCII
        if body_bytes > self._most_in_body or len(line) > self._most_in_line:
            raise InputError(
                f"Its request has {body_bytes} bytes; the provider takes at most "
                f"{self._most_in_body}.",
                hint="Shorten the row's texts, for example {{ text[:20000] }}.",
                code="request_too_large",
            )
        if self._inserted:
            self._count_blanks(row)
        key = b"" if self._key is None else self._key(texts)
        return RequestLine(custom_id, line, body_bytes, len(image or ""), key)

    def _counted_for_blanks(self, spec: RequestSpec) -> tuple[str, ...]:
        """The columns whose blanks deserve a warning, as such rows are sent all the same."""
        inserted = self._prompt.inserted
        if self._system is not None:
            inserted |= self._system.inserted
        is_alone = len(self._content) == 1 and not spec.image_column  # such rows are left out
        if spec.blanks == "send" or is_alone:
            return ()
        return tuple(column for column in self._content if column in inserted)

    def _count_blanks(self, row: Row) -> None:
        for column in self._inserted:
            value: Any = row.get(column)
            if value.__class__ is str and "!" <= value < "\x7f":  # it begins with "!" to "~"
                continue
            if _is_empty(value):
                self.blank_cells[column] = self.blank_cells.get(column, 0) + 1

    def _is_blank(self, row: Row) -> bool:
        for column in self._content:
            value = row.get(column, _ABSENT)
            if value.__class__ is str:
                if "!" <= value < "\x7f" or not is_blank(value):  # it begins with "!" to "~"
                    return False
            elif not _is_empty(value):
                return False
        return self._images is None or _is_empty(row.get(self._image_column))

    def _custom_id(self, number: int, row: Row) -> str:
        label = None if self._id_column is None else as_text(row.get(self._id_column))
        return custom_id_for(number, label, self._longest_id)


def _is_empty(value: Any) -> bool:
    """Whether a value is null, blank text, or an empty list or object."""
    if isinstance(value, str):
        return is_blank(value)
    return value is None or (isinstance(value, list | dict | bytes) and not value)


def _columns_to_copy(spec: RequestSpec, source: Source, used: frozenset[str]) -> tuple[str, ...]:
    also = {spec.id_column, source.image_column}
    return tuple(
        name
        for name in source.columns
        if name in used or name in also or name.lower() in _ROW_NAMES
    )


def _body_pieces(spec: RequestSpec, *, in_order: bool = False) -> BodyPieces:
    """The body of all requests, with places for `prompt` and `system`.

    The part common to all bodies is encoded once.

    Args:
        spec: what the requests ask.
        in_order: write the body as keys need it: fields sorted, whole floats as integers, no nulls.
    """
    prompt, system = _place("prompt"), _place("system")
    if spec.endpoint == EMBEDDINGS:
        fields = {"input": prompt}
    elif spec.endpoint == RESPONSES:
        fields = {} if spec.system is None else {"instructions": system}
        fields["input"] = prompt
    else:
        instructions = b'{"role":"system","content":%b},' % system
        before = b"" if spec.system is None else instructions
        fields = {"messages": b'[%b{"role":"user","content":%b}]' % (before, prompt)}
    constants = _constants(spec)
    if in_order:
        constants = by_value(msgspec.json.decode(_encode(constants)))
    given = {name: _encode(value) for name, value in constants.items()}
    fields = {"model": _encode(spec.model), **fields} | given
    if in_order:
        fields = dict(sorted(fields.items()))
    body = b",".join(_encode(name) + b":" + value for name, value in fields.items())
    begin, *rest = (b"{" + body + b"}").split(b"\0")
    names = (name.decode() for name in rest[::2])
    return BodyPieces(begin, tuple(zip(names, rest[1::2], strict=True)))


def _place(name: str) -> bytes:
    """Marks a place until the body is cut there: JSON holds no null byte."""
    return b"\0%b\0" % name.encode()


def _with_image(endpoint: str, prompt: str, image: str) -> list[dict[str, Any]]:
    """A prompt and an image, as the content of a message (chat) or as `input` (responses)."""
    if endpoint == RESPONSES:
        content = [
            {"type": "input_text", "text": prompt},
            {"type": "input_image", "image_url": image},
        ]
        return [{"role": "user", "content": content}]
    return [
        {"type": "text", "text": prompt},
        {"type": "image_url", "image_url": {"url": image}},
    ]


def _constants(spec: RequestSpec) -> dict[str, Any]:
    if spec.response_schema is None:
        return spec.params
    answer = spec.schema_format.around(spec.response_schema)
    if spec.endpoint == RESPONSES:
        return spec.params | {"text": {"format": {"type": "json_schema", **answer}}}
    return spec.params | {"response_format": {"type": "json_schema", "json_schema": answer}}
