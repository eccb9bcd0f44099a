"""Every command of the documents has its form for PowerShell, or is the same there."""

import re
from itertools import pairwise

import pytest

from docs.documents import DOCS, DOCUMENTS, ROOT
from docs.powershell import translated
from skill import markdown

SKILL = ROOT / "skill" / "doubleword-batch"
OF_THE_SKILL = [SKILL / "SKILL.md", *sorted((SKILL / "references").glob("*.md"))]
FOR_ALL_PAGES = (DOCS / "getting-started.md", DOCS / "hosts.md")
IN_PLACE_OF = re.compile(r"[Ww]rite `python`[^.]* for `python3`")
PROGRAMS = ("claude ", "codex ", "gemini ", "code ", "npx ", "pip ", "uv ", "python3 ", "curl ")
SHELL_OR_POWERSHELL = re.compile(r"^ *```(sh|powershell)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ANY_BLOCK = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
everything = pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "SKILL.md", *OF_THE_SKILL], ids=lambda path: path.stem
)


def powershell_lines(path):
    return markdown.lines(path, "powershell")


def commands(path):
    """The lines of the shell blocks, and the commands in tables and sentences."""
    text = path.read_text(encoding="utf-8")
    mentioned = re.findall(r"`([^`\n]+)`", ANY_BLOCK.sub("", text))
    return [*markdown.lines(path, "sh"), *(c for c in mentioned if c.startswith(PROGRAMS))]


def says_what_python3_is(path):
    pages = (SKILL / "SKILL.md",) if path in OF_THE_SKILL else (path, *FOR_ALL_PAGES)
    return any(IN_PLACE_OF.search(page.read_text(encoding="utf-8")) for page in pages)


@everything
def test_every_command_is_the_same_in_powershell_or_has_its_form_there(path):
    own = powershell_lines(path)
    given = own + [line for page in FOR_ALL_PAGES for line in powershell_lines(page)]
    variables = {found[1] for line in own if (found := re.match(r"\$(\w+) =", line))}
    for command in commands(path):
        lines = translated(command.strip(), variables)
        if lines is None:
            assert has_a_block_of_its_own(path, command), f"no form for PowerShell: {command}"
        elif lines == [re.sub(r"^python3\b", "python", command.strip())]:
            assert not command.startswith("python3") or says_what_python3_is(path), command
        else:
            missing = [line for line in lines if line not in given]
            assert not missing, f"not there for PowerShell: {missing}, for {command}"


def has_a_block_of_its_own(path, command):
    blocks = SHELL_OR_POWERSHELL.findall(path.read_text(encoding="utf-8"))
    return any(
        kind == "sh" and command in block and following == "powershell"
        for (kind, block), (following, _) in pairwise(blocks)
    )


def test_the_rules_of_the_translation():
    assert translated("doubleword-batch run a.csv --prompt 'Good? {{ text }}'") == [
        "doubleword-batch run a.csv --prompt 'Good? {{ text }}'"
    ]
    assert translated("python3 -m venv .venv && .venv/bin/pip install '.[local]'") == [
        "python -m venv .venv",
        r".venv\Scripts\pip install '.[local]'",
    ]
    assert translated('export KEY="a $OTHER"') == ['$env:KEY = "a $env:OTHER"']
    assert translated("A=b uv run x") == ['$env:A = "b"', "uv run x"]
    for line in (
        "cat <<EOF", "a $(b)", "a `b`", "a \\", "run --prompt @prompt.txt", "a > b", "a || b",
        "a & b", "a; b", "cd ~/x", "a 2>/dev/null", """-d '{"id": "'"$FILE_ID"'"}'""",
    ):  # fmt: skip
        assert translated(line) is None, line
