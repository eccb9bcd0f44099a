"""Explains to an agent what is wrong with a call, with the call it probably meant.

For an unknown tool, resource, prompt or argument, or an argument with an unsuitable value.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from doubleword_batch.errors import DoublewordBatchError, InputError, Next, quote_untrusted
from doubleword_batch.mcp_server.replies import as_call
from doubleword_batch.plain_text import readable
from doubleword_batch.requests.spec import snake_case
from doubleword_batch.sources.values import plain_number

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_MUST_BE = {
    "missing": "is missing",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be text",
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
}
_MOST_WRONG = 5
_MOST_BYTES = 600
_SHOWN = 60


def unknown_arguments(
    tool: str, given: dict[str, Any], tools: Mapping[str, list[str]]
) -> InputError:
    """An error for arguments that the tool does not have: a misspelt one must not be ignored.

    If all of them belong somewhere, `next` is the corrected call.

    Args:
        tool: its name.
        given: the arguments of the call.
        tools: the arguments of each tool.
    """
    from doubleword_batch.jobs.build_request import OPTIONS

    known = tools[tool]
    names = Tools(tools, tuple(OPTIONS))
    unknown = sorted(set(given) - set(known))
    call = {name: value for name, value in given.items() if name in known}
    hints: list[str] = []
    is_whole = True
    for name in unknown:
        place = names.place_of(tool, name, given[name], call)
        if place.arguments is None or (set(place.arguments) & set(call)) - {"params", "options"}:
            is_whole = False
        else:
            _put(call, place.arguments)
        hints += [_of_several(place.hint, name, unknown)] if place.hint else []
    if len(hints) < len(unknown):
        hints.append(f"The arguments are: {', '.join(known)}.")
    shown = ", ".join(map(_shown, unknown[:5]))
    return InputError(
        f"There {'is no argument' if len(unknown) == 1 else 'are no arguments'} {shown}.",
        hint=" ".join(hints),
        next=Next(tool, call) if is_whole and _is_short(call) else None,
    )


def _of_several(hint: str, name: str, unknown: Sequence[str]) -> str:
    """The hint; if there are several names, it says which one is meant."""
    is_clear = len(unknown) == 1 or not hint.endswith("?")
    return hint if is_clear else f"{hint.removesuffix('?')} for {_shown(name)}?"


def _shown(name: str) -> str:
    return quote_untrusted(name, _SHOWN).strip("«»")


def boolean_given_as_number(
    given: dict[str, Any], properties: Mapping[str, Mapping[str, Any]]
) -> InputError | None:
    """An error for true or false in place of a number, where it would count as 1 or 0."""
    kinds = {"integer": "a whole number", "number": "a number"}
    for name, value in given.items():
        kind = kinds.get(properties.get(name, {}).get("type", ""))
        if isinstance(value, bool) and kind is not None:
            return InputError(
                f"The arguments do not fit: {name} must be {kind}.", code="invalid_argument"
            )
    return None


def _put(call: dict[str, Any], place: dict[str, Any]) -> None:
    for name, value in place.items():
        inside = call.get(name)
        call[name] = inside | value if isinstance(inside, dict) else value


def wrong_arguments(
    tool: str, error: "ValidationError", given: dict[str, Any], known: list[str]
) -> InputError:
    """An error for arguments that do not fit, without repeating their values."""
    words: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        first, *rest = problem["loc"] or ("the call",)
        inside = [str(step) for step in rest[:1] if not _is_a_kind(step)]
        words.setdefault(".".join((str(first), *inside)), []).append(_must_be(problem))
    wrong = [
        f"{place} {' or '.join(dict.fromkeys(kinds)).replace(' or must be ', ' or ')}"
        for place, kinds in words.items()
    ]
    hint = f"The arguments are: {', '.join(known)}."
    helps = None
    source = given.get("source")
    if isinstance(source, list) and source and "rows" in known and _are_rows(source):
        call = {"rows": given["source"]} | {n: v for n, v in given.items() if n != "source"}
        hint, helps = "Did you mean rows?", Next(tool, call) if _is_short(call) else None
    elif not any("is missing" in place for place in wrong):
        hint = ""
    return InputError(
        f"The arguments do not fit: {'; '.join(wrong[:_MOST_WRONG])}.",
        hint=hint,
        code="invalid_argument",
        next=helps,
    )


def _are_rows(listed: Any) -> bool:
    return all(isinstance(row, dict) for row in listed)


def _is_short(call: dict[str, Any]) -> bool:
    return len(json.dumps(call, ensure_ascii=False).encode()) <= _MOST_BYTES


def _is_a_kind(step: int | str) -> bool:
    """Whether a step names one of several types a value may have, rather than a place in it."""
    return isinstance(step, str) and ("[" in step or step in {"str", "int", "float", "bool"})


def _must_be(problem: "ErrorDetails") -> str:
    """What pydantic says about a value, worded for the agent who has to write it."""
    told = _MUST_BE.get(problem["type"])
    if told is not None:
        return told
    for bound, words in (("ge", "at least"), ("le", "at most")):
        if (limit := problem.get("ctx", {}).get(bound)) is not None:
            return f"must be {words} {limit:g}"
    message = problem["msg"].removeprefix("Input should be ")
    return f"must be {message}" if message != problem["msg"] else message


# Which argument is meant by an unknown name, and where its value belongs

_ALIKE = 0.76  # similarity from which one name counts as the other misspelt

_MEANT = {
    "source": "input input_path input_file input_csv file file_path filepath filename file_name "
    "csv csv_path csv_file jsonl table dataset data data_file data_path source_path source_file "
    "folder url path",
    "rows": "data records items inputs examples",
    "prompt": "template prompt_template user_prompt message messages question task text",
    "system": "system_prompt system_message system_template instructions instruction role",
    "model": "model_name model_id llm engine",
    "endpoint": "url_path api_endpoint",
    "response_schema": "schema json_schema output_schema answer_schema result_schema "
    "structured_output output_format columns_out fields_out",
    "params": "parameters body extra_params sampling_params generation_config model_params",
    "options": "source_options read_options",
    "limit": "sample samples pilot n_rows num_rows nrows max_rows row_limit rows_limit row_count "
    "first head top page_size max_results count n",
    "output_path": "output output_file out outfile out_path out_file outputpath destination dest "
    "save_to save_as target filename file_name file path csv",
    "new_run": "force rerun fresh again no_cache",
    "overwrite": "force replace",
    "image_column": "image images image_path image_url",
    "id_column": "id key_column custom_id custom_id_column row_id",
    "job": "batch batch_id id job_id job_name name input_file_id file_id handle",
    "completion_window": "window sla deadline",
    "max_cost_usd": "max_cost budget budget_usd cost_limit max_budget cap max_usd max_price "
    "spend_limit max_spend cost_cap",
    "wait_seconds": "wait timeout wait_s timeout_seconds seconds poll",
    "query": "sql select where filter",
    "sample": "samples limit n n_rows num_rows max_rows head preview rows count",
    "format": "output_format file_format type",
    "kind": "type what of",
    "search": "query name filter contains",
    "after": "cursor page page_token offset next_page last_id",
    "causes": "cause outcomes errors error reason reasons status",
    "path": "file source filename file_path input_file input",
}
"""Words that people and models use for an argument; which ones apply depends on the tool."""

_OPTION_MEANT = {
    "name": "job_name job_id job",
    "note": "description comment notes",
    "group_by": "groupby group",
    "encoding": "charset",
    "delimiter": "sep separator",
    "sheet": "sheet_name worksheet tab",
    "header_row": "header",
    "chunk_chars": "chunk_size chunk",
    "on_bad_row": "on_error on_bad_rows",
}
# fmt: off
_PARAMETERS = frozenset((
    "audio", "dimensions", "extra_body", "frequency_penalty", "guided_json", "logit_bias",
    "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "min_p", "modalities",
    "n", "parallel_tool_calls", "presence_penalty", "reasoning", "reasoning_effort",
    "repetition_penalty", "response_format", "seed", "stop", "temperature", "thinking",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "verbosity",
))
# fmt: on
_IN_PROMPT = frozenset(
    {"column", "columns", "text_column", "prompt_column", "input_column", "fields"}
)
_IN_SCHEMA = frozenset({"output_column", "output_columns", "output_fields", "answer_column"})
_OF_A_PERSON = frozenset({"api_key", "apikey", "key", "token", "base_url", "api_base", "provider"})
_MUST_BE_TEXT = frozenset({"prompt", "system", "source", "path", "output_path", "job", "query"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value belongs.

    Attributes:
        arguments: the tool's arguments with the value in them; None if it does not belong there.
        hint: what to say about it; "" if nothing is known.
    """

    arguments: dict[str, Any] | None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Tools:
    """The arguments of the tools, and the options of a build.

    Attributes:
        arguments: by the tool's name.
        options: the keys that the argument `options` may have.
    """

    arguments: Mapping[str, Sequence[str]]
    options: Sequence[str] = field(default_factory=tuple)

    def place_of(self, tool: str, name: str, value: Any, given: Mapping[str, Any]) -> Place:
        """Where a value belongs that was given under a name that the tool does not have."""
        known = self.arguments.get(tool, ())
        word = snake_case(name)
        inside = self._inside(word, value, known)
        if inside is not None:
            return inside
        if word in _OF_A_PERSON:
            return Place(None, f"{word} is set by a person where the server is started.")
        if word in _IN_PROMPT and "prompt" in known:
            return Place(None, "The prompt names the columns that it uses, as {{ text }}.")
        if word in _IN_SCHEMA and "response_schema" in known:
            return Place(None, "The properties of response_schema become the answer's columns.")
        meant = _meant(word, value, known, given)
        if meant is not None:
            fits = isinstance(value, str) or meant not in _MUST_BE_TEXT
            return Place({meant: value} if fits else None, f"Did you mean {meant}?")
        return Place(None, self._elsewhere(tool, word))

    def _inside(self, word: str, value: Any, known: Sequence[str]) -> Place | None:
        """The place inside params or options."""
        if word in _PARAMETERS and "params" in known:
            return Place({"params": {word: plain_number(value)}}, f"{word} goes into params.")
        if "options" not in known or word in known:
            return None
        synonyms = (option for option, words in _OPTION_MEANT.items() if word in words.split())
        option = word if word in self.options else next(synonyms, None)
        if option is None:
            return None
        as_what = "" if option == word else f" as {option}"
        return Place({"options": {option: value}}, f"{word} goes into options{as_what}.")

    def _elsewhere(self, tool: str, word: str) -> str:
        """What to say about an argument that another tool has."""
        for other, arguments in self.arguments.items():
            if other == tool:
                continue
            if word in _PARAMETERS and "params" in arguments:
                return f"{word} goes into params of {other}."
            meant = word if word in arguments else _synonym(word, None, arguments)
            if meant is not None:
                as_what = "" if meant == word else f" as {meant}"
                return f"{word} goes into {other}{as_what}."
        return ""


def _meant(word: str, value: Any, known: Sequence[str], given: Mapping[str, Any]) -> str | None:
    """The tool's argument that a word stands for; preferably one that is not given already."""
    if word in known:
        return word
    free = [name for name in known if name not in given]
    for names in (free, known):
        if found := _synonym(word, value, names):
            return found
    near = difflib.get_close_matches(word, known, n=1, cutoff=_ALIKE)
    return near[0] if near else None


def _synonym(word: str, value: Any, known: Sequence[str]) -> str | None:
    found = [name for name, words in _MEANT.items() if name in known and word in words.split()]
    if isinstance(value, list) and "rows" in found:
        return "rows"
    return found[0] if found else None


# Tools, resources and prompts that are not there

_TOOLS_ALIKE = 0.7
_SHOWN_OF_A_NAME = 80


def unknown_tool(
    name: str,
    given: Mapping[str, Any],
    offered: Mapping[str, Sequence[str]],
    writing: Sequence[str],
) -> DoublewordBatchError:
    """The error for an unknown tool; `next` is the call with the name that was meant.

    Args:
        name: as it was called.
        given: the arguments of the call.
        offered: the arguments of each tool of this server.
        writing: the tools that a server has unless it was started read-only.
    """
    hint = f"The tools are: {', '.join(offered)}."
    word = snake_case(name)
    if word in writing:
        return InputError(
            f"{word} is not offered: this server was started read-only.",
            hint=f"{hint} A person starts it without DOUBLEWORD_BATCH_READ_ONLY.",
            code="read_only",
        )
    ends = [tool for tool in offered if word.endswith(("__" + tool, ":" + tool, "." + tool))]
    meant = next(
        iter(ends or difflib.get_close_matches(word, offered, n=1, cutoff=_TOOLS_ALIKE)), None
    )
    fits = meant is not None and set(given) <= set(offered[meant])
    return InputError(
        f"There is no tool {quote_untrusted(name, _SHOWN_OF_A_NAME)}.",
        hint=hint if meant is None else f"Did you mean {meant}? {hint}",
        code="invalid_argument",
        next=Next(meant, dict(given)) if meant is not None and fits else None,
    )


def unknown_resource(uri: str) -> MCPError:
    """The error for a resource: jobs and their answers are not resources."""
    return _not_there("resource", uri, {"uri": uri})


def unknown_prompt(name: str) -> MCPError:
    """The error for a prompt: this server has none."""
    return _not_there("prompt", name, {"name": name})


def _not_there(kind: str, name: str, asked: dict[str, str]) -> MCPError:
    message = f"There is no {kind} {quote_untrusted(name, _SHOWN_OF_A_NAME)}."
    hint = "Jobs and their answers are reached with the tools alone: list shows the jobs."
    data = {
        **{of: readable(text) for of, text in asked.items()},
        "code": "invalid_argument",
        "hint": hint,
        "next": as_call(Next("list", {"kind": "jobs"})),
    }
    return MCPError(INVALID_PARAMS, f"{message} {hint}", data)
