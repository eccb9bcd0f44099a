"""One row in, one request line out: the same bytes as the package writes."""

from __future__ import annotations

import codecs
import errno
import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit import strict_json
from batchkit.cli import Exit, ScriptError, quoted
from batchkit.limits import CHAT, EMBEDDINGS, RESPONSES
from batchkit.plain_text import is_blank
from batchkit.template import Template, check_column

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchkit.tables import Row

_NOT_IN_A_SLUG = re.compile(r"[^A-Za-z0-9._]+")


class Spec(NamedTuple):
    """What to ask of every row.

    Attributes:
        endpoint: one of `limits.ENDPOINTS`.
        model: the model's id.
        prompt: template of the user's message, the input, or the text to embed.
        params: merged into every body.
        system: template of the system message, or the instructions.
        schema: JSON Schema for the answers.
        id_column: column whose value makes the custom_ids readable.
    """

    endpoint: str
    model: str
    prompt: str
    params: dict[str, Any]
    system: str | None = None
    schema: dict[str, Any] | None = None
    id_column: str | None = None


class RequestLines:
    """Makes request lines from rows.

    Attributes:
        is_constant: no template uses a column, so every request is the same.
    """

    def __init__(self, spec: Spec, columns: Sequence[str], max_custom_id_bytes: int) -> None:
        _check(spec, columns)
        self._spec = spec
        self._max_custom_id_bytes = max_custom_id_bytes
        self._prompt = Template(spec.prompt, columns)
        self._system = None
        if spec.system is not None:
            self._system = Template(spec.system, columns, "system prompt")
        self.is_constant = self._prompt.is_constant and (
            self._system is None or self._system.is_constant
        )
        self._rest = strict_json.encode(_constants(spec))[1:-1]

    def is_blank(self, row: Row) -> bool:
        """Whether all columns that the templates use are blank in a row: nothing to ask."""
        used = {*self._prompt.used, *(self._system.used if self._system else ())}
        return bool(used) and all(name in row and _is_empty(row[name]) for name in used)

    def line(self, number: int, row: Row) -> tuple[bytes, int]:
        """The line of row `number`, with its newline, and how many of its bytes are the body."""
        try:
            label = strict_json.as_prompt_text(row.get(self._spec.id_column or ""))
            custom_id = custom_id_for(number, label, self._max_custom_id_bytes)
            system = None if self._system is None else self._system.render(row, number)
            body = strict_json.encode(self._body(self._prompt.render(row, number), system))
        except ValueError as error:
            raise ScriptError(
                Exit.INPUT, f"Row {number} cannot be written as JSON: {error}.", "Correct it."
            ) from None
        if self._rest:
            body = body[:-1] + b"," + self._rest + b"}"
        return request_line(custom_id, self._spec.endpoint, body), len(body)

    def _body(self, prompt: str, system: str | None) -> dict[str, Any]:
        model, endpoint = self._spec.model, self._spec.endpoint
        if endpoint == EMBEDDINGS:
            return {"model": model, "input": prompt}
        if endpoint == RESPONSES:
            instructions = {} if system is None else {"instructions": system}
            return {"model": model, **instructions, "input": prompt}
        messages = [] if system is None else [{"role": "system", "content": system}]
        return {"model": model, "messages": [*messages, {"role": "user", "content": prompt}]}


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return is_blank(value)
    return value is None or (isinstance(value, (list, dict)) and not value)


def request_line(custom_id: str, url: str, body: bytes) -> bytes:
    """A request line with its newline, around a body that is JSON already."""
    head = strict_json.encode({"custom_id": custom_id, "method": "POST", "url": url})
    return head[:-1] + b',"body":' + body + b"}\n"


def custom_id_for(row: int, label: str, max_bytes: int) -> str:
    """The custom_id of a row: `r17`, or `r17-order-4711` with the allowed characters of a label."""
    number = f"r{row}"
    plain = label[: 4 * max_bytes]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    slug = _NOT_IN_A_SLUG.sub("-", plain).strip("-")
    slug = slug[: max(max_bytes - len(number) - 1, 0)].rstrip("-")
    return f"{number}-{slug}" if slug else number


def _check(spec: Spec, columns: Sequence[str]) -> None:
    if not spec.model.strip():
        raise ScriptError(Exit.INPUT, "No model is named.", "references/pricing.md lists some.")
    if spec.endpoint == EMBEDDINGS and (spec.system is not None or spec.schema):
        raise ScriptError(
            Exit.INPUT, "An embedding has no system prompt and no schema.", f"Use {CHAT}."
        )
    if spec.id_column is not None:
        check_column(spec.id_column, columns, "--id-column")
    taken = {"model", "messages", "input"}
    if spec.system is not None:
        taken.add("instructions")
    if spec.schema is not None:
        taken.add("text" if spec.endpoint == RESPONSES else "response_format")
    overwritten = sorted(taken & spec.params.keys())
    if overwritten:
        names = ", ".join(map(quoted, overwritten))
        raise ScriptError(Exit.INPUT, f"--param would overwrite {names}.", "Leave it out.")
    if spec.params.get("stream"):
        raise ScriptError(Exit.INPUT, "A batch cannot stream its answers.", "Leave stream out.")


def _constants(spec: Spec) -> dict[str, Any]:
    """The parts that are the same in every body."""
    if spec.schema is None:
        return spec.params
    answer = {"name": "answer", "schema": spec.schema, "strict": True}
    if spec.endpoint == RESPONSES:
        return {**spec.params, "text": {"format": {"type": "json_schema", **answer}}}
    return {**spec.params, "response_format": {"type": "json_schema", "json_schema": answer}}


# Texts that people save in an editor

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def text_of_file(path: Path) -> str:
    """The text, decoded by its byte order mark or else as UTF-8; line ends become line feeds.

    Raises:
        OSError: it is not a file: a pipe might block, and a device never ends.
        UnicodeDecodeError: it is not text.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
