"""The README says what the code does."""

import ast
import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from anyio import fail_after

from doubleword_batch.doctor import host_files
from doubleword_batch.local import LocalConfig, LocalServer
from skill import commands, markdown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_variable_that_is_read_is_documented_and_no_other():
    source = (ROOT / "server/doubleword_batch/settings.py").read_text(encoding="utf-8")
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


def test_the_settings_files_of_the_hosts_are_those_in_which_the_doctor_looks():
    rows = markdown.rows(markdown.section(ROOT / "README.md", "Put it into your agent's host"))
    named = {row[0]: markdown.named(row[1])[0] for row in rows if len(row) == 2}
    places = host_files(Path("~"))
    files = {host: named[host] for host in named.keys() & places.keys()}

    assert files.keys() == {"Claude Desktop", "Cursor", "Windsurf", "opencode"}
    for host, file in files.items():
        assert str(places[host][0]).endswith(file), host


# Commands and examples


def shell_commands():
    """Every command of the shell blocks, chains taken apart."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    return [command for line in lines for command in line.split(" && ")]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_shell_lines_are_shell():
    bash = shutil.which("bash")
    for block in blocks("sh"):
        subprocess.run([bash, "-n"], input=block.encode(), check=True, timeout=20)


def test_every_command_of_ours_is_one_that_exists():
    ours = [command.removeprefix(".venv/bin/") for command in shell_commands()]
    ours = [command for command in ours if commands.is_ours(command)]
    mentioned = commands.mentioned(ROOT / "README.md")

    assert any(command.startswith("doubleword-batch run ") for command in ours)
    assert len(mentioned) > 2
    for command in ours:
        commands.check(command)
    for command in mentioned:
        commands.check_mention(command)


def test_every_other_command_is_one_that_another_test_runs():
    """CI itself runs `.uv/bin/uv run`; the README's other lines are run in tests/hosts and here."""
    known = (
        "python3 -m venv ", ".venv/bin/pip install ", ".venv/bin/doubleword-batch ",
        ".uv/bin/pip install ", ".uv/bin/uv run ", "doubleword-batch ", "npx skills add ",
        "npx clawhub install ", "openclaw skills install ", 'python3 -c "import shutil; ',
        "python3 -m zipfile -e ",
    )  # fmt: skip
    for command in shell_commands():
        assert command.startswith(known), command
    for program in re.findall(r"`(?:python|bash) (\S+?)`", README):
        assert (ROOT / program).is_file(), program
    for extra in re.findall(r"'\.\[(\w+)\]'", README):
        assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_guide_and_the_readme_install_the_skill_alike():
    skill = "".join(blocks("sh")).splitlines()
    for line in commands.foreign(ROOT / "SKILL.md"):
        assert line in skill or line.startswith("claude plugin "), line


def test_the_line_for_a_table_of_ones_own_makes_a_table_of_answers(tmp_path):
    (tmp_path / "reviews.csv").write_text("text\ngood\nbad\n")
    (line,) = [command for command in shell_commands() if command.startswith("doubleword-batch ")]
    ours = ("DOUBLEWORD_", "OPENAI_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
    simulated = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }

    done = subprocess.run(
        [sys.executable, "-m", "doubleword_batch", *shlex.split(line)[1:]],
        cwd=tmp_path, env=environment | simulated, capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 3


def test_the_json_is_json():
    assert len(blocks("json")) >= 2
    for block in blocks("json"):
        json.loads(block)


async def test_the_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_HOME", str(tmp_path / "client"))
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    }
    (tmp_path / "requests.jsonl").write_text(json.dumps(line) + "\n")
    examples = blocks("python")
    assert len(examples) >= 2
    with LocalServer(LocalConfig(home=tmp_path / "server")) as server:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", server.base_url)
        for example in examples:
            named = {
                "Path": lambda name: tmp_path / name,
                "asyncio": asyncio,
                "conversations": [[{"role": "user", "content": "x"}]],
                "key": server.token,
                "model": "m",
            }
            here = example.replace("https://api.doubleword.ai/v1", server.base_url)
            quick = here.replace("BatchOpenAI(", "BatchOpenAI(batch_window_seconds=0.1, ")
            code = compile(quick, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            with fail_after(60):
                await eval(code, named)  # noqa: S307  # the README's own lines
            assert named.get("batch") or named["answers"][0].choices
