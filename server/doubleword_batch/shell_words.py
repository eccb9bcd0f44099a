"""Quotes command lines for the shell in which a person will paste them."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

Shell = Literal["sh", "cmd", "powershell", "pwsh"]
"""`powershell` is Windows PowerShell 5; `pwsh` is PowerShell from 7.3 on, with sound quotes."""

_PLAIN = re.compile(r"[\w+:./\\=-]+", re.ASCII)
_QUOTED_BY_BOTH = re.compile(r"[^\"$`%!\u201c-\u201e\n\r]*[^\"$`%!\u201c-\u201e\n\r\\]")
_CMD_SIGNS = re.compile(r'([()%!^"<>&|])')


def shell_here(env: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Shell:
    """The current shell, as far as its environment tells.

    PowerShell puts the user's modules into PSModulePath; cmd only inherits the system's.
    """
    if platform != "win32" or env.get("MSYSTEM") or env.get("SHELL"):
        return "sh"
    modules = env.get("PSModulePath", "").lower()
    profile = env.get("USERPROFILE", "").lower()
    if not profile or profile not in modules:
        return "cmd"
    return "pwsh" if "\\powershell\\7" in modules else "powershell"


def join_words(words: Sequence[str], shell: Shell | None = None) -> str:
    """The words as one command line, which that shell splits into the same words.

    Args:
        words: the program and its arguments, none of them empty or with a line break.
        shell: by default the current one.
    """
    shell = shell or shell_here()
    if shell == "sh":
        return shlex.join(words)
    line = " ".join(_quoted(word, shell) for word in words)
    if shell != "cmd" and line[0] in "'\"":  # without &, PowerShell takes it for a string
        return f"& {line}"
    return line


def set_variable(name: str, value: str, shell: Shell | None = None) -> str:
    """The line that sets a variable for the programs that a shell starts.

    Args:
        name: of letters and underscores.
        value: an address or a key, without characters that a shell interprets.
        shell: by default the current one.
    """
    shell = shell or shell_here()
    if shell == "cmd":
        return f"set {name}={value}"
    if shell == "sh":
        return f"export {name}={shlex.quote(value)}"
    return f"$env:{name} = {_text_of_powershell(value)}"


def set_variable_from(name: str, path: str, shell: Shell | None = None) -> str:
    """The line that sets a variable to a file's only line; the path may contain any character."""
    shell = shell or shell_here()
    if shell == "cmd":
        return f'set /p {name}=<"{path}"'
    if shell == "sh":
        return f'export {name}="$(cat {shlex.quote(path)})"'
    # Without -LiteralPath, brackets are wildcards.
    return f"$env:{name} = (Get-Content -LiteralPath {_text_of_powershell(path)})"


def _text_of_powershell(text: str) -> str:
    return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"  # to PowerShell, all are quotes


def _quoted(word: str, shell: Shell) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if _QUOTED_BY_BOTH.fullmatch(word):
        return f'"{word}"'
    # Windows programs split their command lines by these rules. PowerShell 5 passes on a line that
    # is split by them once more; it adds no backslashes, but quotes around words with spaces.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    within_quotes = re.sub(r"(\\+)$", r"\1\1", escaped)
    if shell == "cmd":
        return _CMD_SIGNS.sub(r"^\1", f'"{within_quotes}"')
    if shell == "powershell":
        word = within_quotes if " " in word else escaped
    return _text_of_powershell(word)
