"""What docs/hosts.md and the guide tell a reader to type or to write into a host's settings."""

import json
from pathlib import Path

from skill import markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hosts.md"
_HOSTS = PAGE.read_text(encoding="utf-8")


def host_line(host, *, key):
    """The line that adds the server to a host, with a key or without."""
    cells = {row[0]: row[1:] for row in markdown.rows(_HOSTS)}[host]
    (line,) = markdown.named(cells[0 if key else 1])
    return line


def package_line(what):
    """The line that installs or makes a package of the server, from a clone."""
    (cell,) = (row[1] for row in markdown.rows(_HOSTS) if row[0].startswith(what))
    return markdown.named(cell)[0]


def settings_with(name):
    """The settings file whose outermost entry has that name."""
    found = [json.loads(block) for block in markdown.blocks(PAGE, "json")]
    (settings,) = (block for block in found if name in block)
    return settings


def lines_of_the_guide(program):
    """The lines of the root SKILL.md that begin with a program's name."""
    return [line for line in markdown.lines(ROOT / "SKILL.md", "sh") if line.startswith(program)]
