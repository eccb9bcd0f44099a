"""Tool calls as command lines: what an agent would call next, as a person would type it."""

import re
import shlex
from collections.abc import Callable
from typing import Any

from doubleword_batch.errors import Next

PROGRAM = "doubleword-batch"

_WORDS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "create_batch_file": lambda _: ["create-file"],
    "upload": lambda a: ["upload", *_job(a)],
    "create_batch": lambda a: ["create", *_job(a), *_window(a)],
    "get_status": lambda a: ["status", *_job(a), *(["--wait"] if a.get("wait_seconds") else [])],
    "fetch_results": lambda a: ["fetch", *_job(a), *_output(a)],
    "cancel": lambda a: ["cancel", *_job(a)],
    "list": lambda a: ["list", *([str(a["kind"])] if "kind" in a else [])],
    "retry_failed": lambda a: ["retry", *_job(a)],
}
"""The command of each tool, with the arguments that a `Next` carries."""

# Names with an underscore are unmistakable; the others are words, so they need their brackets.
_CALL = re.compile(
    r"\b(?:(create_batch_file|create_batch|get_status|fetch_results|retry_failed)(?:\(([^()]*)\))?"
    r"|(list|upload|cancel)\(([^()]*)\))"
)
_ARGUMENT = re.compile(r'(\w+)=(?:"([^"]*)"|([^,\s]+))')


def command_for(following: Next) -> str:
    """The command line of the next call, quoted for a shell."""
    words = _WORDS[following.tool](following.arguments)
    return shlex.join([PROGRAM, *words])


def in_commands(text: str) -> str:
    """A hint with its tool calls written as commands."""
    return _CALL.sub(_as_command, text)


def _as_command(call: re.Match[str]) -> str:
    tool, given, other, others_given = call.groups()
    arguments = {
        name: quoted or bare
        for name, quoted, bare in _ARGUMENT.findall(given or others_given or "")
    }
    return f"`{command_for(Next(tool=tool or other, arguments=arguments))}`"


def _job(arguments: dict[str, Any]) -> list[str]:
    return [str(arguments["job"])] if "job" in arguments else []


def _window(arguments: dict[str, Any]) -> list[str]:
    window = arguments.get("completion_window")
    return ["--window", str(window)] if window else []


def _output(arguments: dict[str, Any]) -> list[str]:
    return ["-o", f"{arguments['job']}.csv"] if "job" in arguments else []
