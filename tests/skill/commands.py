"""Commands of documents, parsed as the programs themselves would parse them."""

import importlib.util
import re
import shlex
import sys

import typer

from doubleword_batch.cli.app import command_line
from skill import markdown
from skill.places import SCRIPTS

_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def mentioned(path):
    """What stands between back quotes in running text and begins with a command of ours."""
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    found = (" ".join(command.split()) for command in re.findall(r"`([^`]+)`", text))
    return [command for command in found if is_ours(command)]


def is_ours(line):
    return line.startswith(("doubleword-batch ", "python3 scripts/"))


def check(line):
    """Parse a whole command of ours; it fails as the program would."""
    program, *words = shlex.split(line)
    if program == "doubleword-batch":
        name, command, words, context = _resolved(words)
        command.make_context(name, words, parent=context)
    else:
        _parser_of(words[0].removeprefix("scripts/")).parse_args(words[1:])


def check_mention(line):
    """A command that is only named, perhaps with some of its options: they have to exist."""
    program, *words = shlex.split(line)
    if program == "doubleword-batch":
        _, command, words, _ = _resolved(words)
        known = {option for param in command.params for option in param.opts}
    else:
        known = set(_parser_of(words[0].removeprefix("scripts/"))._option_string_actions)
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}, line


def _resolved(words):
    """The command that words name, its own words, and the context of its group."""
    command = typer.main.get_command(command_line())
    name, words = "doubleword-batch", list(words)
    context = command.make_context(name, [], resilient_parsing=True)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        command = command.commands[name]
    return name, command, words, context


def _parser_of(name):
    sys.path.insert(0, str(SCRIPTS))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        place = importlib.util.spec_from_file_location("script", SCRIPTS / name)
        script = importlib.util.module_from_spec(place)
        place.loader.exec_module(script)
        return script._parser()
    finally:
        sys.path.remove(str(SCRIPTS))
        sys.dont_write_bytecode = before


def foreign(path):
    """Lines of a document's shell blocks that begin with somebody else's program."""
    return [line for line in markdown.lines(path, "sh") if not is_ours(line)]


def ours(path):
    """Lines of a document's shell blocks that are a command of ours."""
    return [line for line in markdown.lines(path, "sh") if is_ours(line)]
