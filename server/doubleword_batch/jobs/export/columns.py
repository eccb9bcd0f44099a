"""The names of the columns in a table of answers.

The answer's columns have plain names, from the schema or the kind of answer, and so have the
ledger's. A column of the source with the same name gets `source_` in front. If the source is itself
the table of an earlier job, its `custom_id`, `outcome` and `error` columns are left out unless the
prompt mentions them, so that tables of tables do not grow wider. Its `origin` column is about the
earlier answers and becomes `source_origin`.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from doubleword_batch.jobs.extra_columns import EXTRA_COLUMNS, extra_columns, tool_argument_schemas

LEDGER = ("custom_id", "outcome", "error")
MODEL = "model"
"""For a job with a cascade: the column that says which model's answer a row has."""

ORIGIN = "origin"
"""The column that says where an answer comes from if the row sent no request of its own."""

TOOLS = ("tool_name", "tool_arguments", "tool_calls")
TOOL_ARGUMENT = "tool_arguments."
"""How the column of a single argument begins, such as `tool_arguments.day`."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of one table.

    Attributes:
        given: name in the table by name in the source, for the source's columns in the table, in
            order.
        own: the same for the columns of `LEDGER`, `MODEL` if there is a cascade, and the kinds of
            answer that the job can have.
        properties: the same for each property of the response_schema, in the schema's order. A
            property with the name of a ledger column gets `answer_` in front.
        schemas: the JSON Schema of each property.
        made: the columns of the properties, in order.
        kinds: the kinds of answer, such as `answer`, `embedding` or `tool_arguments.day`.
    """

    given: dict[str, str]
    own: dict[str, str]
    properties: dict[str, str]
    schemas: dict[str, Any]
    made: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def all(self) -> list[str]:
        """The columns of the table, in order."""
        own = self.own
        answers = (own[kind] for kind in self.kinds)
        ledger = (own["custom_id"], own["outcome"])
        model = [own[MODEL]] if MODEL in own else []
        return [*self.given.values(), *ledger, *self.made, *answers, *model, own["error"]]

    @property
    def answers(self) -> list[str]:
        """The columns that hold the answer: with a response_schema, its properties."""
        return list(self.properties.values()) or [self.own[kind] for kind in self.kinds]

    @property
    def renamed(self) -> dict[str, str]:
        """The source's columns that have another name in the table."""
        return {name: column for name, column in self.given.items() if name != column}


def table_columns(given: Sequence[str], spec: dict[str, Any], endpoint: str) -> Columns:
    """The names for a source with these columns and a job with this spec and endpoint."""
    schema: dict[str, Any] = spec.get("response_schema") or {}
    schemas: dict[str, Any] = schema.get("properties") or {}
    kinds = _kinds(spec, endpoint)
    model = (MODEL,) if spec.get("cascade") else ()
    own = {name: name for name in (*LEDGER, *model, *kinds)}
    taken = {name.lower() for name in own}
    properties: dict[str, str] = {}
    for name in schemas:
        properties[name] = name if name == "answer" else _free(name, taken, "answer_")
    made = tuple(column for name, column in properties.items() if name != "answer")
    is_of_a_job = _is_table_of_answers(given)
    left_out = _unused(spec) if is_of_a_job else ()
    others = taken | {name.lower() for name in given}
    names: dict[str, str] = {}
    for name in given:
        if name in left_out:
            continue
        clashes = name.lower() in taken or (name == ORIGIN and is_of_a_job)
        names[name] = _free(f"source_{name}", others, "source_") if clashes else name
    return Columns(names, own, properties, schemas, made, kinds)


def _kinds(spec: dict[str, Any], endpoint: str) -> tuple[str, ...]:
    if endpoint == "/v1/embeddings":
        return ("embedding",)
    params: dict[str, Any] = spec.get("params") or {}
    wanted = extra_columns(params)
    extras = [name for name in EXTRA_COLUMNS if wanted[name]]
    if not params.get("tools"):
        return ("answer", *extras)
    arguments = (TOOL_ARGUMENT + name for name in tool_argument_schemas(params))
    name, whole, several = TOOLS
    return (name, whole, *arguments, several, "answer", *extras)


def _free(name: str, taken: set[str], prefix: str) -> str:
    """Take the name if it is free, or else with the prefix, or else with a number, too."""
    column = name
    if name.lower() in taken and not name.startswith(prefix):
        column = prefix + name
    free = free_name(column, taken)
    taken.add(free.lower())
    return free


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is among those taken, which are in lower case."""
    free, number = name, 2
    while free.lower() in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _is_table_of_answers(given: Sequence[str]) -> bool:
    """Whether a source with these columns was written by a job."""
    if not set(LEDGER) <= set(given) or given[-1] != "error":
        return False
    return list(given).index("outcome") == list(given).index("custom_id") + 1


def _unused(spec: dict[str, Any]) -> list[str]:
    """The ledger's columns of an earlier job that the prompt does not mention."""
    texts = f"{spec.get('prompt')} {spec.get('system')}"
    used = {spec.get("id_column"), spec.get("image_column")}
    return [
        name
        for name in LEDGER
        if name not in used and not re.search(rf"\b{re.escape(name)}\b|\brow\b", texts)
    ]


# Column names for SQL, in which case does not matter


def distinct_names(columns: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names; one that differs from an earlier name only by case gets a number.

    A JSON object may have a field without a name: it is named by its position, as in sources.
    """
    seen = {name.lower() for name in taken}
    names: list[str] = []
    for place, column in enumerate(columns, 1):
        name = free_name(column.replace("\0", "\ufffd") or f"column_{place}", seen)
        seen.add(name.lower())
        names.append(name)
    return names
