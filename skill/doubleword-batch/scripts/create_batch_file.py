#!/usr/bin/env python3
"""Turns a table and a prompt, or a list of requests, into JSONL request files for the Batch API.

Nothing is sent. Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

from batchkit import strict_json
from batchkit.atomic_files import PartFiles
from batchkit.cli import (
    OFFLINE,
    Exit,
    ScriptError,
    count,
    note,
    quoted,
    run_script,
    say,
    script_parser,
)
from batchkit.limits import CHAT, ENDPOINTS, Limits
from batchkit.plain_text import one_line
from batchkit.request_lines import (
    RequestLines,
    Spec,
    request_line,
    text_of_file,
)
from batchkit.tables import open_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_BYTES_PER_TOKEN = 4
_SHOWN_CHARACTERS = 400
_COLUMNS_SHOWN = 30

_EXAMPLES = """\
examples:
  create_batch_file.py reviews.csv --prompt 'Good or bad? {{ text }}' \\
      --model Qwen/Qwen3-14B-FP8 --param max_tokens=50 --output requests.jsonl
  create_batch_file.py --requests edited.jsonl --model Qwen/Qwen3-14B-FP8 \\
      --output requests.jsonl

A list of requests has bodies ({"messages": [...]}) or whole request lines; missing parts
(custom_id, method, url, body.model) are filled in.

"""


def main() -> Exit:
    """Build the files and show what is in them."""
    options = _parser().parse_args()
    limits = Limits(max_requests=options.max_requests, max_file_bytes=options.max_file_bytes)
    if (options.table is None) == (options.requests is None):
        raise ScriptError(Exit.USAGE, "Give either a table or --requests.", "See --help.")
    made = _from_table(options, limits) if options.table else _from_list(options)
    rows = written = body_bytes = skipped = blank = 0
    first = b""
    output, inputs = Path(options.output), _inputs(options)
    with PartFiles(output, limits, overwrite=options.overwrite, inputs=inputs) as parts:
        for rows, request in enumerate(made, 1):
            if request is None:
                blank += 1
                continue
            line, size = request
            if size > limits.max_request_bytes or len(line) > limits.max_file_bytes:
                skipped += 1
                note(f"warning: row {rows} is left out: its request has {size} bytes.")
                continue
            parts.write(line)
            first = first or line
            written += 1
            body_bytes += size
        if not written:
            raise ScriptError(Exit.INPUT, f"None of the {rows} rows can become a request.")
        parts.publish()
    for path in parts.paths:
        say(f"wrote {path}")
    if blank:
        say(f"{blank} rows are blank in the prompt's columns: skipped")
    say(f"{written} requests from {rows} rows, about {body_bytes // _BYTES_PER_TOKEN} input tokens")
    say(one_line(f"the first: {first.decode()[:_SHOWN_CHARACTERS].strip()}"))
    return Exit.INCOMPLETE if skipped else Exit.DONE


def _inputs(options: argparse.Namespace) -> list[Path]:
    """The files that are read, as far as these arguments name files."""
    texts = (text for text in (options.prompt, options.system) if text and text.startswith("@"))
    named = (options.table, options.requests, options.schema, *(text[1:] for text in texts))
    return [Path(name) for name in named if name]


def _from_table(options: argparse.Namespace, limits: Limits) -> Iterator[tuple[bytes, int] | None]:
    """The request of each row, None for a blank one."""
    if options.prompt is None:
        raise ScriptError(Exit.USAGE, "A table needs a --prompt.", "See --help.")
    table = open_table(Path(options.table))
    spec = Spec(
        endpoint=options.endpoint,
        model=options.model or "",
        prompt=_text(options.prompt),
        system=None if options.system is None else _text(options.system),
        schema=None if options.schema is None else _schema(options.schema),
        params=_params(options.param),
        id_column=options.id_column,
    )
    lines = RequestLines(spec, table.columns, limits.max_custom_id_bytes)
    for number, row in enumerate(table.rows(), 1):
        if options.limit is not None and number > options.limit:
            return
        if lines.is_constant and number > 1:
            shown = ", ".join(quoted(name, 60) for name in table.columns[:_COLUMNS_SHOWN])
            raise ScriptError(
                Exit.INPUT,
                "The prompt uses no column, so it would ask the same of every row.",
                f"Write {{{{ column }}}} where a row's value belongs. The columns are {shown}.",
            )
        yield None if lines.is_blank(row) else lines.line(number, row)


def _from_list(options: argparse.Namespace) -> Iterator[tuple[bytes, int]]:
    params = _params(options.param)
    for number, entry in enumerate(open_table(Path(options.requests)).rows(), 1):
        if options.limit is not None and number > options.limit:
            return
        body = entry.get("body", entry)
        if not isinstance(body, dict):
            raise ScriptError(Exit.INPUT, f"The body of request {number} is not an object.")
        model = {"model": options.model} if options.model else {}
        whole = {**model, **body, **params}
        if not isinstance(whole.get("model"), str):
            raise ScriptError(Exit.INPUT, f"Request {number} names no model.", "Give --model.")
        is_line = body is not entry
        custom_id = str(entry.get("custom_id") or f"r{number}") if is_line else f"r{number}"
        url = str(entry.get("url") or options.endpoint) if is_line else options.endpoint
        encoded = strict_json.encode(whole)
        yield request_line(custom_id, url, encoded), len(encoded)


def _text(given: str) -> str:
    """A template as it was given, or from `@FILE`; `@@` begins with an @."""
    if not given.startswith("@") or given.startswith("@@"):
        return given.removeprefix("@")
    try:
        return text_of_file(Path(given[1:])).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(Exit.INPUT, f"{quoted(given[1:])} cannot be read: {error}.") from None


def _schema(given: str) -> dict[str, Any]:
    text = given if given.lstrip().startswith("{") else _text("@" + given)
    try:
        schema = strict_json.decode(text)
    except ValueError as error:
        raise ScriptError(Exit.INPUT, f"--schema is not JSON: {error}.") from None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ScriptError(
            Exit.INPUT, '--schema is not JSON Schema with "type": "object" at its top.'
        )
    return schema


def _params(given: list[str]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ScriptError(Exit.USAGE, f"{quoted(pair)} is not NAME=VALUE.", "See --help.")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
        try:
            strict_json.encode(params[name])
        except ValueError as error:
            raise ScriptError(Exit.INPUT, f"--param {quoted(name)}: {error}.") from None
    return params


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, OFFLINE, _EXAMPLES)
    add = parser.add_argument
    add("table", nargs="?", help="CSV, TSV, JSONL or a JSON array of objects")
    add("--requests", metavar="FILE", help="instead of a table: a list of bodies or request lines")
    add("--prompt", help="template such as 'Classify: {{ text }}', or @FILE")
    add("--system", help="template of the system message, or @FILE")
    add("--model", help="the model's id")
    add("--schema", help="JSON Schema (a file, or its text) for the answers")
    add("--param", action="append", default=[], metavar="NAME=VALUE", help="into every body")
    add("--endpoint", choices=ENDPOINTS, default=CHAT)
    add("--id-column", metavar="COLUMN", help="becomes part of each custom_id")
    add("--limit", type=count, metavar="N", help="the first N rows only: a pilot")
    add("--output", "-o", required=True, metavar="FILE", help="the JSONL request file to write")
    add("--overwrite", action="store_true", help="replace the output file")
    limits = Limits()
    add("--max-requests", type=count, default=limits.max_requests, help="lines of one file")
    add("--max-file-bytes", type=count, default=limits.max_file_bytes, help="bytes of one file")
    return parser


if __name__ == "__main__":
    run_script(main)
