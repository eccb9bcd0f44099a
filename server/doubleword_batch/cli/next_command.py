"""The next call as a command line: the call for an agent, as a person would type it."""

import json
from collections.abc import Callable
from typing import Any

from doubleword_batch.errors import Next
from doubleword_batch.shell_words import join_words

PROGRAM = "doubleword-batch"

_COMMANDS = {
    "create_batch_file": "create-file",
    "upload": "upload",
    "create_batch": "create",
    "get_status": "status",
    "fetch_results": "fetch",
    "cancel": "cancel",
    "list": "list",
    "retry_failed": "retry",
}
_WORDS: dict[str, Callable[[Any], list[str]]] = {
    "job": lambda job: [job],
    "path": lambda path: [path],
    "kind": lambda kind: [kind],
    "completion_window": lambda window: ["--window", window],
    "wait_seconds": lambda seconds: ["--wait"] if seconds else [],
    "output_path": lambda path: ["-o", path],
    "causes": lambda causes: [word for cause in causes for word in ("--cause", cause)],
    "params": lambda params: [
        word for name, value in params.items() for word in ("--param", f"{name}={_json(value)}")
    ],
}
"""The command-line form of a tool's arguments; those without an option are left out."""


def command_for(next_call: Next) -> str:
    """The command line for the next call, quoted for a shell.

    `fetch` always names a table to write: a person wants the answers, an agent may want samples.
    """
    arguments = next_call.arguments
    if next_call.tool == "fetch_results" and "job" in arguments:
        arguments = {"output_path": f"{arguments['job']}.csv", **arguments}
    words = [word for name in _WORDS if name in arguments for word in _WORDS[name](arguments[name])]
    return join_words([PROGRAM, _COMMANDS[next_call.tool], *words])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
