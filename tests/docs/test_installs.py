"""Nothing makes anybody install a stranger's package: the name is not registered yet.

Whoever registers it first would have code run by everyone who pastes such a line. So a command that
installs says where from: a clone, by its path. When the name is ours, this file goes.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = r"doubleword[-_.]batch"
INSTALLERS = "pip|pip3|pipx|uv|uv pip|poetry|pdm|conda|brew|npm|clawhub|skills|openclaw skills"
FETCHING = (
    rf"\b(?:{INSTALLERS})\s+(?:install|add|download|i)\b"
    r"|uv tool (?:install|run|upgrade)\b|uv run --with\b|docker (?:run|pull)\b"
    r"|pipx run\b|uvx\b|npx\b"
)
# An argument is the name itself: not a path to it, not a word in it, not what follows `--from ./`.
INSTALLS = re.compile(
    rf"(?:{FETCHING})[^\n;&|`]*?[\s'\"=]{NAME}(?:/{NAME})?(?:\[[^\]]*\])?(?:[=<>~!@][^\s`]*)?"
    r"(?=[\s'\"`,;:)\\]|\.(?:\s|$)|$)",
    re.IGNORECASE,
)
FROM_A_CLONE = re.compile(r"(?:--from|--with|install|add)\s+['\"]?(?:\.|\$\{|/)")


def files():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines()
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    # CI's own files install from the lock; these tests hold lines that must be refused.
    return [
        n for n in names if not n.startswith("tests/") and n != "uv.lock" and (ROOT / n).is_file()
    ]


def installing(text, kind=".md"):
    """Every command in a text that fetches the package by its name, broken lines joined."""
    text = re.sub(r"\\\n\s*", " ", text)
    if kind == ".py":
        text = re.sub(r"([\"'])\s*\n\s*[frb]*\1", "", text)
    elif kind == ".md":
        text = re.sub(r"(?<=[^|\n])\n(?=[\w`'])", " ", text)
    return sorted({m[0] for m in INSTALLS.finditer(text) if not FROM_A_CLONE.search(m[0])})


@pytest.mark.parametrize(
    "line",
    [
        "pip install doubleword-batch",
        "pip install 'doubleword-batch[local]'",
        'python -m pip install --upgrade "doubleword-batch[openai]==0.1.0"',
        "pip install doubleword_batch",
        "pip install \\\n    doubleword-batch",
        "uvx doubleword-batch",
        "uvx --from doubleword-batch doubleword-batch serve",
        "uv tool install doubleword-batch",
        "uv add doubleword-batch.",
        "pipx run doubleword-batch",
        "uv run --with doubleword-batch python",
        "npx clawhub install doubleword-batch",
        "npx skills add doubleword-batch/doubleword-batch",
        "Run `pip install httpx doubleword-batch`.",
    ],
)
def test_a_line_that_installs_by_name_is_found(line):
    assert installing(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install .",
        "pip install '.[local]' && .venv/bin/doubleword-batch demo",
        "uv tool install . then run doubleword-batch",
        "uvx --from . doubleword-batch",
        "uv run --project ${__dirname} python -m doubleword_batch",
        "npx '@anthropic-ai/mcpb' pack . doubleword-batch.mcpb",
        "claude plugin install doubleword-batch@doubleword-batch",
    ],
)
def test_a_line_that_installs_from_a_clone_is_not(line):
    assert not installing(line)


def test_a_hint_whose_text_is_broken_in_the_code_is_found():
    assert installing('hint="Run: pip install "\n    f"doubleword-batch[{extra}]",', ".py")


def test_no_document_message_or_hint_installs_the_package_by_its_name():
    found = {
        name: installing((ROOT / name).read_text("utf-8", "replace"), Path(name).suffix)
        for name in files()
    }

    assert {name: lines for name, lines in found.items() if lines} == {}


TAKES_MODULES_OF_THE_FOLDER = re.compile(r"\bpython3?(?:\.exe)? -(?:m (?!venv\b)|c )[^`\n]*")
"""`venv` is made in a clone of this repository, whose files are trusted."""


def test_no_document_has_a_line_that_takes_a_module_from_the_folder_it_is_typed_in():
    texts = {name: (ROOT / name).read_text("utf-8") for name in files() if name.endswith(".md")}
    found = {name: TAKES_MODULES_OF_THE_FOLDER.findall(text) for name, text in texts.items()}

    assert TAKES_MODULES_OF_THE_FOLDER.search("python3 -m zipfile -e skill.zip .claude/skills")
    assert not TAKES_MODULES_OF_THE_FOLDER.search("python -I -m zipfile -e skill.zip .")
    assert {name: lines for name, lines in found.items() if lines} == {}


def commands(node):
    """Every command with its arguments, at any depth of a manifest."""
    if isinstance(node, dict):
        if "command" in node:
            yield [node["command"], *node.get("args", [])]
        for value in node.values():
            yield from commands(value)
    elif isinstance(node, list):
        for value in node:
            yield from commands(value)


@pytest.mark.parametrize(
    "name", [".claude-plugin/plugin.json", "manifest.json", "gemini-extension.json"]
)
def test_no_manifest_starts_a_package_by_its_name(name):
    started = list(commands(json.loads((ROOT / name).read_text(encoding="utf-8"))))

    assert started
    for words in started:
        assert words[:2] == ["uv", "run"]
        assert "--project" in words
        assert "--frozen" in words
        assert not [word for word in words if re.fullmatch(rf"{NAME}(\[.*|[=<>@].*)?", word)][1:]


def test_the_two_places_where_the_name_has_to_stand_are_for_after_a_release():
    """The registry's entry names a package, and nothing reads it here before it is published."""
    entry = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))

    assert [package["identifier"] for package in entry["packages"]] == ["doubleword-batch"]
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "not registered at the package index yet" in security
