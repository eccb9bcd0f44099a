"""The README says what the code does."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_variable_that_is_read_is_documented_and_no_other():
    source = (ROOT / "server/doubleword_batch/config.py").read_text(encoding="utf-8")
    strings = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)]
    read = {
        s for s in strings if isinstance(s, str) and re.fullmatch(r"(DOUBLEWORD|OPENAI)_\w+", s)
    }
    documented = set(re.findall(r"`((?:DOUBLEWORD|OPENAI)_\w+)`", section("Configuration")))
    assert documented == read


def test_the_tree_under_working_on_it_is_the_tree_there_is():
    named = set(re.findall(r"\b([a-z_]+(?:/|\.py))(?=\s)", section("Working on it")))
    there = ROOT / "server/doubleword_batch"
    modules = {p.name for p in there.glob("*.py") if not p.name.startswith("__")}
    folders = {f"{p.name}/" for p in there.iterdir() if (p / "__init__.py").exists()}
    assert {name for name in named if name in modules | folders} == modules | folders


def test_every_dependency_has_its_reason_in_the_decisions():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.partition("\ndependencies = [")[2].partition("]")[0]
    reasons = section("Decisions").lower()
    for name in re.findall(r'"([a-z0-9-]+)', listed):
        assert name in reasons, name


def test_every_error_code_that_the_readme_names_exists():
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "server").rglob("*.py"))
    for name in re.findall(r"code `(\w+)`", README):
        assert f'"{name}"' in code


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / link).exists(), link


def test_the_commands_of_the_command_line_section_exist():
    shown = subprocess.run(
        [sys.executable, "-m", "doubleword_batch", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    for name in re.findall(r"`([a-z][a-z-]+)`", section("The command line")):
        assert re.search(rf"\b{name}\b", shown), name


def test_the_shell_lines_are_shell():
    bash = shutil.which("bash")
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL):
        subprocess.run([bash, "-n"], input=block.encode(), check=True, timeout=20)
