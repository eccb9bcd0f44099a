"""What is to be built: an order of the caller, and the plan that it becomes once it is checked."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.job import Workspace

if TYPE_CHECKING:
    from doubleword_batch.requests import RequestSpec
    from doubleword_batch.sources import Source


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller wants built.

    Attributes:
        source: path, folder or glob; or None with `rows`.
        rows: up to 100 rows given inline.
        prompt: template of the user's message over the row's columns.
        system: template of the system message.
        model: None for the local server's own model.
        endpoint: one of the profile's endpoints.
        response_schema: JSON Schema as object, as JSON text, or as a path to a file.
        params: merged into every request body.
        id_column: column whose value becomes part of the custom_id.
        image_column: column with an image in each row: a path, an https URL, a data: URI or bytes.
        limit: first rows only (a pilot).
        output_path: where to copy the request file; None for the state directory alone.
        overwrite: whether `output_path` may be replaced.
        new_run: build a new job although the same one exists.
        strict: build nothing if a row is too large for the provider, instead of leaving it out.
    """

    source: str | None = None
    rows: list[dict[str, Any]] | None = None
    prompt: str = ""
    system: str | None = None
    model: str | None = None
    endpoint: str = "/v1/chat/completions"
    response_schema: dict[str, Any] | str | None = None
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    id_column: str | None = None
    image_column: str | None = None
    limit: int | None = None
    output_path: str | None = None
    overwrite: bool = False
    new_run: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """An order after every check: ready to build.

    Attributes:
        spec: what to ask of each row.
        source: the rows.
        fingerprint: of the source, what is asked and whom; not of the images that a table names.
        stamp: of the source's files, see `stamp_of`.
        stored_spec: what of the order is kept with the job, as JSON.
        limit: first rows only.
        copy_to: where a copy of the request file goes.
        overwrite: whether it may replace what is there.
    """

    spec: "RequestSpec"
    source: "Source"
    fingerprint: str
    stamp: str
    stored_spec: str
    limit: int | None
    copy_to: Path | None
    overwrite: bool


def plan_of(ws: Workspace, order: Order, model: str, building: Path) -> Plan:
    """Check an order and open its source.

    Args:
        ws: the workspace.
        order: what is wanted.
        model: whose answers are wanted.
        building: where inline rows are written to.

    Raises:
        InputError: a source, a schema, a path or a parameter that cannot be used.
    """
    from doubleword_batch.requests import RequestSpec

    if order.endpoint not in ws.profile.endpoints:
        raise InputError(
            f"{ws.profile.title} has no endpoint {order.endpoint!r} for batches.",
            hint=f"Use one of {', '.join(ws.profile.endpoints)}.",
            code="bad_endpoint",
        )
    if order.limit is not None and order.limit < 1:
        raise InputError("limit must be at least 1.", hint="Leave it out for all rows.")
    source = _source(ws, order, building)
    spec = RequestSpec(
        endpoint=order.endpoint,
        model=model,
        prompt=order.prompt,
        system=order.system,
        response_schema=_schema(ws, order.response_schema),
        params=order.params,
        id_column=order.id_column,
        image_column=order.image_column,
        strict=order.strict,
    )
    copy_to = (
        ws.roots.writable(order.output_path, overwrite=order.overwrite)
        if order.output_path
        else None
    )
    stored = msgspec.json.encode(
        {
            "prompt": spec.prompt,
            "system": spec.system,
            "response_schema": spec.response_schema,
            "params": spec.params,
            "id_column": spec.id_column,
            "image_column": spec.image_column,
            "limit": order.limit,
            "run": secrets.token_hex(4) if order.new_run else None,
        },
        order="sorted",
    ).decode()
    facts = (source.fingerprint(), stored, model, order.endpoint, ws.profile.name, ws.server)
    fingerprint = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamp = stamp_of(source.paths)
    overwrite = order.overwrite
    return Plan(spec, source, fingerprint, stamp, stored, order.limit, copy_to, overwrite)


def _source(ws: Workspace, order: Order, building: Path) -> "Source":
    from doubleword_batch.sources import open_source, write_rows

    if (order.source is None) == (order.rows is None):
        raise InputError(
            "Give either source (a path, folder or glob) or rows (inline), and not both.",
            code="no_source",
        )
    if order.rows is not None:
        path = building / "rows.jsonl"
        write_rows(order.rows, path)
        return open_source(str(path), ws.roots.with_folder(building))
    return open_source(order.source or "", ws.roots)


def stamp_of(paths: tuple[Path, ...]) -> str:
    """Sizes and times of files: equal stamps mean that nothing has to be hashed again."""
    stats = [path.stat() for path in paths]
    text = ";".join(f"{s.st_size}:{s.st_mtime_ns}" for s in stats)
    return hashlib.sha256(text.encode()).hexdigest()


def _schema(ws: Workspace, given: dict[str, Any] | str | None) -> dict[str, Any] | None:
    if given is None or isinstance(given, dict):
        return given
    text = given
    if not given.lstrip().startswith("{"):
        path = ws.roots.readable_file(given)
        if path.stat().st_size > 1 << 20:
            raise InputError(f"{path} is too large for a JSON Schema.", code="bad_schema")
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"response_schema is not JSON: {error}.",
            hint="Give a JSON Schema object, its text, or the path of a file that holds one.",
            code="bad_schema",
        ) from None
    if not isinstance(schema, dict):
        raise InputError(
            "response_schema is not an object.", hint="Give a JSON Schema.", code="bad_schema"
        )
    return cast("dict[str, Any]", schema)
