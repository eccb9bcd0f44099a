"""Commands of a POSIX shell, as PowerShell wants them."""

import re

# What has no form that can be told by rule: such a line needs a block of its own for PowerShell.
_OF_A_SHELL = re.compile(
    r"""\\$ | \$\( | ` | << | "'" | \|\| | \s&(?:\s|$) | ; | \s>>?\s | (?:^|\s)[@~] | /dev/""",
    re.VERBOSE,
)
_EXPORT = re.compile(r"export (\w+)=(.*)")
_SET_FOR_ONE = re.compile(r"((?:[A-Z_]+=\S+ )+)(.*)")
_VARIABLE = re.compile(r"\$([A-Z_]+)")
_JSON = re.compile(r"'(\{.*\})'")


def translated(line, own_variables=()):
    """The lines for a line of a shell; None where only a person can tell.

    Args:
        line: one or several commands.
        own_variables: names that the page sets as PowerShell's own, not in the environment. An id
            that a reader fills in is one, too.
    """
    if _OF_A_SHELL.search(_without_quoted(line)) or "'\"$" in line:
        return None
    return [
        part for command in line.split(" && ") for part in _command(command, set(own_variables))
    ]


def _command(command, own):
    if export := _EXPORT.fullmatch(command):
        return [_assigned(export[1], export[2], own)]
    if (for_one := _SET_FOR_ONE.fullmatch(command)) is not None:
        pairs = (pair.split("=", 1) for pair in for_one[1].split())
        return [*(_assigned(*pair, own) for pair in pairs), *_command(for_one[2], own)]
    if activated := re.fullmatch(r"\. (\.\w+)/bin/activate", command):
        return [rf"{activated[1]}\Scripts\Activate.ps1"]
    command = re.sub(r"^python3\b", "python", command)
    command = re.sub(r"(\.\w+)/bin/", r"\1\\Scripts\\", command)
    command = command.replace(" -- ", " '--' ")  # PowerShell keeps a bare one for itself
    command = _JSON.sub(lambda found: "'" + found[1].replace('"', '\\"') + "'", command)
    return [_with_variables(command, own)]


def _assigned(name, value, own):
    quoted = value if value.startswith('"') else f'"{value}"'
    return f"${name if name in own else f'env:{name}'} = {_with_variables(quoted, own)}"


def _with_variables(text, own):
    def variable(found):
        name = found[1]
        return found[0] if name in own or name.endswith("_ID") else f"$env:{name}"

    return _VARIABLE.sub(variable, text)


def _without_quoted(line):
    """The line without what its quotes hold."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "''", line)
