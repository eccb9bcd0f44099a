"""The README says what the code does, and its commands run."""

import os
import re
import shlex

import pytest

import processes
from docs.documents import DOCS, README, ROOT, prepare_examples, run_example, served, shell_commands
from processes import COMMAND
from skill import commands, markdown

TEXT = README.read_text(encoding="utf-8")


def test_it_can_be_read_in_one_go():
    assert len(TEXT.splitlines()) <= 130


def test_a_program_finds_the_name_of_the_server_and_a_reader_whose_project_it_is():
    assert "<!-- mcp-name: io.github.doubleword-batch/doubleword-batch -->" in TEXT
    assert "An independent project, not affiliated with Doubleword." in TEXT


def test_its_lines_for_hosts_are_those_of_the_page_about_hosts():
    rows = [row for row in markdown.rows(TEXT) if "mcp add" in row[-1]]
    on_the_page = {row[0]: row[1] for row in markdown.rows((DOCS / "hosts.md").read_text("utf-8"))}
    assert len(rows) == 2
    for host, line in rows:
        assert on_the_page[host] == line


def test_its_promises_are_those_of_the_page_about_guarantees():
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    promised = re.findall(r"^\d\. \*\*(.+?)\*\*", TEXT, re.MULTILINE)
    assert len(promised) == 5
    assert promised == [
        name.rstrip(".") for name in re.findall(r"^\d\. \*\*(.+?)\*\*", page, re.MULTILINE)
    ]


def test_in_the_package_index_its_links_lead_to_the_repository():
    core = pytest.importorskip("hatchling.metadata.core")
    manager = pytest.importorskip("hatchling.plugin.manager")
    shown = core.ProjectMetadata(str(ROOT), manager.PluginManager()).core.readme
    repository = "https://github.com/doubleword-batch/doubleword-batch/blob/main/"

    targets = re.findall(r"\]\(([^)]+)\)", shown)
    assert [target.removeprefix(repository) for target in targets] == markdown.links(README)
    assert all(target.startswith(repository) for target in targets)


def test_every_command_is_one_that_another_test_runs():
    """CI itself runs `.uv/bin/uv run`; the demo's and the hosts' lines are run in their folders."""
    known = (
        "python3 -m venv ", ".venv/bin/pip install ", ".venv/bin/doubleword-batch ",
        ".uv/bin/pip install ", ".uv/bin/uv run ", "doubleword-batch run ",
    )  # fmt: skip
    for command in shell_commands(TEXT):
        assert command.startswith(known), command
        if commands.is_ours(command):
            commands.check(command)
    for extra in re.findall(r"'\.\[(\w+)\]'", TEXT):
        assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_line_for_a_table_of_ones_own_makes_a_table_of_answers(tmp_path):
    (tmp_path / "reviews.csv").write_text("text\ngood\nbad\n")
    (line,) = [line for line in shell_commands(TEXT) if line.startswith("doubleword-batch ")]
    ours = ("DOUBLEWORD_", "OPENAI_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
    simulated = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }

    done = processes.run(
        [*COMMAND, *shlex.split(line)[1:]],
        cwd=tmp_path, env=environment | simulated, capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 3


def test_the_python_examples_run_as_they_stand(tmp_path, monkeypatch):
    prepare_examples(tmp_path, monkeypatch)
    examples = markdown.blocks(README, "python")
    assert len(examples) == 2
    with served(tmp_path / "server") as server:
        for example in examples:
            run_example(example, tmp_path, server)
