"""What a document says in its fenced blocks, tables and links."""

import re
import textwrap

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def blocks(path, language):
    """The fenced blocks of a language, in order."""
    text = path.read_text(encoding="utf-8")
    return [textwrap.dedent(body) for _, name, body in _BLOCK.findall(text) if name == language]


def lines(path, language):
    """The lines of all blocks of a language that are not empty."""
    return [line for block in blocks(path, language) for line in block.splitlines() if line]


def links(path):
    """The targets of the links, without anchors."""
    return _LINK.findall(path.read_text(encoding="utf-8"))


def section(path, title):
    """The text below a heading, to the next one of any level."""
    text = path.read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]


def rows(text):
    """The cells of the tables in a text, header and rule left out."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rules = [n for n, cells in enumerate(found) if set("".join(cells)) <= {"-"}]
    headers = {n - 1 for n in rules} | set(rules)
    return [cells for n, cells in enumerate(found) if n not in headers]


def named(cell):
    """The words in back quotes."""
    return re.findall(r"`([^`]+)`", cell)
