"""The pages of docs/ say what the code does."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import processes
from docs.documents import (
    DOCS,
    DOCUMENTS,
    PAGES,
    ROOT,
    prepare_examples,
    run_example,
    section,
    served,
    shell_commands,
)
from doubleword_batch.cli.app import command_line
from doubleword_batch.doctor import host_files
from doubleword_batch.jobs import failpoints
from doubleword_batch.jobs.store.records import OUTCOMES
from doubleword_batch.local.executors.builtin import CHAT_MODEL
from processes import COMMAND
from skill import commands, markdown
from skill.error_codes import codes_of_the_package

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
PACKAGE = ROOT / "server" / "doubleword_batch"


def test_every_variable_that_is_read_is_documented_and_no_other():
    source = (PACKAGE / "settings.py").read_text(encoding="utf-8")
    strings = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)]
    read = {
        s for s in strings if isinstance(s, str) and re.fullmatch(r"(DOUBLEWORD|OPENAI)_\w+", s)
    }
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`((?:DOUBLEWORD|OPENAI)_\w+)`", page)) == read


def named_in_the_first_column(text):
    return [name for row in markdown.rows(text) for name in markdown.named(row[0])]


def test_every_error_code_is_documented_once_and_no_other():
    codes, _, causes = (DOCS / "errors.md").read_text("utf-8").partition("## Causes of rows")
    documented = named_in_the_first_column(codes)
    of_a_row = set(named_in_the_first_column(causes)) - set(documented)
    assert sorted(documented) == sorted(codes_of_the_package() - of_a_row)


def test_the_causes_are_those_that_the_skill_explains():
    references = ROOT / "skill" / "doubleword-batch" / "references"
    ours, the_skills = (
        named_in_the_first_column(markdown.section(page, "Causes of rows"))
        for page in (DOCS / "errors.md", references / "errors.md")
    )
    assert ours == the_skills


@pages
def test_every_code_that_a_page_names_as_one_exists(path):
    named = set(re.findall(r"code `(\w+)`", path.read_text(encoding="utf-8")))
    assert named <= codes_of_the_package()


def test_the_outcomes_are_those_of_the_ledger():
    rows = markdown.rows(section(DOCS / "tables.md", "Outcomes"))
    assert {markdown.named(row[0])[0] for row in rows} == set(OUTCOMES)


def test_the_layers_are_the_tree_there_is():
    layers = section(DOCS / "architecture.md", "The layers")
    named = set(re.findall(r"\b([a-z_]+(?:/|\.py))(?=\s)", layers))
    modules = {p.name for p in PACKAGE.glob("*.py") if not p.name.startswith("__")}
    folders = {f"{p.name}/" for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert named == modules | folders


@pytest.mark.parametrize("page", ["architecture.md", "decisions.md", "threat-model.md"])
def test_every_module_that_a_page_names_exists(page):
    for name in re.findall(r"`((?:\w+/)*\w+\.py)`", (DOCS / page).read_text(encoding="utf-8")):
        is_there = any((folder / name).is_file() for folder in (PACKAGE, ROOT, ROOT / "tests"))
        assert is_there or ("/" not in name and [*PACKAGE.rglob(name)]), name


def test_the_modules_of_jobs_that_the_architecture_names_exist():
    (jobs,) = re.findall(
        r"^In `jobs/`.*?\n\n",
        (DOCS / "architecture.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    there = {path.stem for path in (PACKAGE / "jobs").rglob("*") if path.name != "__init__.py"}
    assert set(re.findall(r"`(\w+)`", jobs.replace("(with `upload`)", ""))) <= there


def test_each_of_the_five_paths_through_the_code_has_at_most_eight_stops():
    paths = section(DOCS / "architecture.md", "Five paths through the code")
    stops = [len(re.findall(r"^\d+\. ", path, re.MULTILINE)) for path in paths.split("\n**")[1:]]
    assert len(stops) == 5
    assert max(stops) <= 8


def test_each_stop_of_the_paths_is_a_file_where_the_reader_looks_for_it():
    """One without a folder lies in a folder that its path has named before, or in the package."""
    paths = section(DOCS / "architecture.md", "Five paths through the code").split("\n**")[1:]
    for path in paths:
        folders = {PACKAGE}
        for stop in re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", path):
            found = [folder / stop for folder in folders if (folder / stop).exists()]
            assert found, stop
            if "/" in stop:
                folders.add(found[0] if found[0].is_dir() else found[0].parent)
        for module, name in re.findall(r"`(\w+)\.(?!py`)(\w+)`", path):
            (source,) = filter(Path.is_file, (folder / f"{module}.py" for folder in folders))
            assert f"def {name}(" in source.read_text(encoding="utf-8")


def test_the_guarantees_count_the_steps_at_which_a_process_is_killed():
    steps = {
        step
        for name in vars(failpoints)
        if name.endswith("STEPS")
        for step in getattr(failpoints, name)
    }
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    assert f"each of {len(steps)} named steps" in page


def test_every_dependency_has_its_reason_in_the_decisions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reasons = (DOCS / "decisions.md").read_text(encoding="utf-8").lower()
    for requirement in project["dependencies"]:
        name = re.match(r"[a-z0-9-]+", requirement)[0]
        assert name in reasons, name


def test_every_decision_says_what_would_change_it():
    page = (DOCS / "decisions.md").read_text(encoding="utf-8")
    decisions = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert decisions
    for decision in decisions:
        assert "*Would change it:*" in decision, decision.splitlines()[0]


def test_the_commands_and_their_exit_codes_are_those_of_the_program():
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    listed = [markdown.named(row[0]) for row in markdown.rows(text) if markdown.named(row[0])]
    shown = processes.run(
        [*COMMAND, "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    codes = [row[0] for row in markdown.rows(section(DOCS / "command-line.md", "Exit codes"))]

    assert {name for (name,) in listed} == commands_of_the_program()
    assert codes == re.findall(r"^ +(\d+) ", shown.partition("Exit codes:")[2], re.MULTILINE)


def commands_of_the_program():
    import typer

    return set(typer.main.get_command(command_line()).commands)


def test_the_settings_files_of_the_hosts_are_those_in_which_the_doctor_looks():
    rows = markdown.rows((DOCS / "hosts.md").read_text(encoding="utf-8"))
    named = {row[0]: markdown.named(row[1])[0] for row in rows if len(row) == 2}
    places = host_files(Path("~"))
    files = {host: named[host] for host in named.keys() & places.keys()}

    assert files.keys() == {"Claude Desktop", "Cursor", "Windsurf", "opencode"}
    for host, file in files.items():
        assert str(places[host][0]).endswith(file), host


def test_the_page_about_hosts_and_the_guide_install_the_skill_alike():
    on_the_page = markdown.lines(DOCS / "hosts.md", "sh")
    for line in commands.foreign(ROOT / "SKILL.md"):
        assert line in on_the_page or line.startswith("claude plugin "), line


# Commands, links and examples of every document


@documents
def test_links_lead_somewhere(path):
    for target in markdown.links(path):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@documents
def test_the_shell_lines_are_shell_and_ours_exist(path):
    text = path.read_text(encoding="utf-8")
    for command in shell_commands(text):
        subprocess.run([shutil.which("bash"), "-n"], input=command.encode(), check=True, timeout=20)
        if commands.is_ours(command):
            commands.check(command)
    for mention in commands.mentioned(path):
        commands.check_mention(mention)


@documents
def test_the_programs_that_it_names_are_there(path):
    text = path.read_text(encoding="utf-8")
    for program in re.findall(r"`(?:python|bash) ([^-\s`]\S*?)[` ]", text):
        assert (ROOT / program).is_file(), program


@documents
def test_the_json_is_json(path):
    for block in markdown.blocks(path, "json"):
        json.loads(block)


def test_the_python_examples_run_as_they_stand(tmp_path, monkeypatch):
    prepare_examples(tmp_path, monkeypatch)
    examples = [block for path in PAGES for block in markdown.blocks(path, "python")]
    assert len(examples) >= 2
    with served(tmp_path / "server") as server:
        for example in examples:
            run_example(example, tmp_path, server)


@documents
def test_an_example_with_a_hosted_model_says_which_one_answers_without_a_key(path):
    if any('model="Qwen/' in block for block in markdown.blocks(path, "python")):
        assert f"`{CHAT_MODEL}`" in path.read_text(encoding="utf-8")
