"""What an agent reads when it asks for a tool, a resource or a prompt that is not there."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from doubleword_batch.errors import DoublewordBatchError, InputError, Next, quote_untrusted
from doubleword_batch.mcp_server.replies import as_call
from doubleword_batch.plain_text import readable
from doubleword_batch.requests.spec import snake_case

_ALIKE = 0.7
_SHOWN = 80


def unknown_tool(
    name: str,
    given: Mapping[str, Any],
    offered: Mapping[str, Sequence[str]],
    writing: Sequence[str],
) -> DoublewordBatchError:
    """The error for a tool that is not there; `next` is the call with the name that was meant.

    Args:
        name: as it was called.
        given: the arguments of the call.
        offered: the arguments of each tool that there is.
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
    meant = next(iter(ends or difflib.get_close_matches(word, offered, n=1, cutoff=_ALIKE)), None)
    fits = meant is not None and set(given) <= set(offered[meant])
    return InputError(
        f"There is no tool {quote_untrusted(name, _SHOWN)}.",
        hint=hint if meant is None else f"Did you mean {meant}? {hint}",
        code="invalid_argument",
        next=Next(meant, dict(given)) if meant is not None and fits else None,
    )


def unknown_resource(uri: str) -> MCPError:
    """The error for a resource that is not there: jobs and their answers are no resources."""
    return _not_there("resource", uri, {"uri": uri})


def unknown_prompt(name: str) -> MCPError:
    """The error for a prompt: this server has none."""
    return _not_there("prompt", name, {"name": name})


def _not_there(kind: str, name: str, asked: dict[str, str]) -> MCPError:
    message = f"There is no {kind} {quote_untrusted(name, _SHOWN)}."
    hint = "Jobs and their answers are reached with the tools alone: list shows the jobs."
    data = {
        **{of: readable(text) for of, text in asked.items()},
        "code": "invalid_argument",
        "hint": hint,
        "next": as_call(Next("list", {"kind": "jobs"})),
    }
    return MCPError(INVALID_PARAMS, f"{message} {hint}", data)
