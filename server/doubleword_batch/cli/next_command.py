"""Command lines quoted for the shell in which a person will paste them.

The next call is one of them: what an agent would call, as a person would type it.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from doubleword_batch.errors import Next

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
"""What a tool's argument is on the command line; what has no option there is left out."""
Shell = Literal["sh", "cmd", "powershell", "pwsh"]
"""`powershell` is Windows PowerShell 5; `pwsh` is PowerShell from 7.3 on, with sound quotes."""

_PLAIN = re.compile(r"[\w+:./\\=-]+", re.ASCII)
_QUOTED_BY_BOTH = re.compile(r"[^\"$`%!\u201c-\u201e\n\r]*[^\"$`%!\u201c-\u201e\n\r\\]")
_CMD_SIGNS = re.compile(r'([()%!^"<>&|])')


def command_for(next_call: Next) -> str:
    """The command line of the next call, quoted for a shell.

    `fetch` always names a table to write: the person wants the answers, an agent may want samples.
    """
    arguments = next_call.arguments
    if next_call.tool == "fetch_results" and "job" in arguments:
        arguments = {"output_path": f"{arguments['job']}.csv", **arguments}
    words = [word for name in _WORDS if name in arguments for word in _WORDS[name](arguments[name])]
    return join_words([PROGRAM, _COMMANDS[next_call.tool], *words])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def shell_here(env: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Shell:
    """The shell that runs, as far as its environment tells.

    PowerShell puts its user's modules into PSModulePath; cmd inherits the system's alone.
    """
    if platform != "win32" or env.get("MSYSTEM") or env.get("SHELL"):
        return "sh"
    modules = env.get("PSModulePath", "").lower()
    profile = env.get("USERPROFILE", "").lower()
    if not profile or profile not in modules:
        return "cmd"
    return "pwsh" if "\\powershell\\7" in modules else "powershell"


def join_words(words: Sequence[str], shell: Shell | None = None) -> str:
    """The words as one command line, which that shell takes apart into the same words.

    Args:
        words: the program and its arguments, none of them empty and each in one line.
        shell: the one that runs, by default.
    """
    shell = shell or shell_here()
    if shell == "sh":
        return shlex.join(words)
    return " ".join(_quoted(word, shell) for word in words)


def quote_word(word: str, shell: Shell | None = None) -> str:
    """One word, as in `join_words`."""
    return join_words([word], shell)


def _quoted(word: str, shell: Shell) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if _QUOTED_BY_BOTH.fullmatch(word):
        return f'"{word}"'
    if shell == "cmd":
        return _CMD_SIGNS.sub(r"^\1", _argument(word))
    text = re.sub("(['\u2018-\u201b])", r"\1\1", word)  # it takes typographic ones for its own
    if shell == "powershell" and '"' in text:
        # What 5 passes on is read once more by the rules of programs, and it adds no backslashes.
        text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    if shell == "powershell" and " " in text:  # it puts quotes around what holds a space
        text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"'{text}'"


def _argument(word: str) -> str:
    """A word by the rules by which programs of Windows take their command line apart."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'
