"""The skill's documents against the code: nothing that they say may be untrue."""

import ast
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from importlib.metadata import version

import jsonschema
import pytest

from doubleword_batch.jobs.store.records import OUTCOMES
from doubleword_batch.jobs.sync import causes
from doubleword_batch.mcp_server import build_server
from doubleword_batch.providers import profile
from doubleword_batch.requests import validate_request_file
from doubleword_batch.settings import Settings
from skill import commands, markdown
from skill.error_codes import codes_of_the_package
from skill.places import DOCUMENTS, REFERENCES, ROOT, SCRIPTS, SKILL

ELSEWHERE = {"claude", "codex", "curl", "export", "gemini", "npx", "openclaw"}
"""Programs of others: what they do with us is tested in tests/hosts, and curl below."""

KNOWN = (
    "pip install '.[local]'",
    # both are run in tests/hosts
    'python3 -I -c "import shutil; shutil.make_archive(',
    "python3 -I -m zipfile -e ",
)

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
guides = pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "SKILL.md"], ids=lambda path: f"{path.parent.name}/{path.name}"
)


def frontmatter():
    text = (SKILL / "SKILL.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    return head, body


# The skill as a package


def test_the_frontmatter_keeps_the_rules_of_agent_skills():
    head, _ = frontmatter()
    fields = dict(re.findall(r"^([\w-]+): *(.*)$", head, re.MULTILINE))

    assert set(fields) == {"name", "description", "license", "compatibility", "metadata"}
    assert fields["name"] == SKILL.name == "doubleword-batch"
    assert len(fields["description"]) <= 1024
    assert len(fields["compatibility"]) <= 500
    assert not set("<>") & set(fields["description"])
    assert f"  version: {version('doubleword-batch')}\n" in head


def test_the_validator_of_agent_skills_accepts_it():
    validator = pytest.importorskip("skills_ref.validator")

    assert validator.validate(SKILL) == []


def test_openclaw_learns_every_variable_and_program_and_that_no_key_is_needed():
    parser = pytest.importorskip("skills_ref.parser")
    metadata, _ = parser.parse_frontmatter((SKILL / "SKILL.md").read_text(encoding="utf-8"))
    declared = ast.literal_eval(metadata["metadata"]["openclaw"])  # the parser keeps it as text
    source = (SCRIPTS / "batchkit" / "settings.py").read_text(encoding="utf-8")

    assert declared["primaryEnv"] == "DOUBLEWORD_API_KEY"
    assert declared["requires"] == {"bins": ["python3"]}
    assert {variable["name"] for variable in declared["envVars"]} == set(
        re.findall(r'"(DOUBLEWORD_[A-Z_]+)"', source)
    )
    assert {variable["required"] for variable in declared["envVars"]} == {"false"}


def test_it_can_be_read_at_once_and_leads_on():
    text = (SKILL / "SKILL.md").read_text(encoding="utf-8")

    assert len(text.splitlines()) < 120
    assert len(text.encode()) < 5_600  # it is context at each load; it was 11 KB
    assert {f"references/{path.name}" for path in REFERENCES} == set(
        markdown.links(SKILL / "SKILL.md")
    )


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.name)
def test_a_reference_says_first_what_it_answers(path):
    title, _, first = path.read_text(encoding="utf-8").splitlines()[:3]

    assert title.startswith("# ")
    assert first.startswith("Answers: ")


@guides
def test_links_lead_somewhere(path):
    for target in markdown.links(path):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_repositorys_own_guide_is_not_a_skill():
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")

    assert text.startswith("# ")
    assert "---\n" not in text


# Commands


@guides
def test_every_command_is_one_that_exists(path):
    for line in commands.ours(path):
        commands.check(line)
    for line in commands.mentioned(path):
        commands.check_mention(line)
    for line in commands.foreign(path):
        assert line.startswith(KNOWN) or line.split()[0] in ELSEWHERE, line


@pytest.mark.parametrize(
    "line",
    [
        "doubleword-batch fetch job --nowhere",
        "doubleword-batch fetch",
        "doubleword-batch nowhere job",
        "doubleword-batch list jobs --limit many",
        "python3 scripts/run_batch.py requests.jsonl --nowhere",
        "python3 scripts/nowhere.py",
    ],
)
def test_a_command_that_does_not_exist_would_be_noticed(line):
    with pytest.raises((Exception, SystemExit)):
        commands.check(line)


def test_an_option_that_does_not_exist_would_be_noticed_in_running_text():
    commands.check_mention("doubleword-batch fetch --output")
    with pytest.raises(AssertionError):
        commands.check_mention("doubleword-batch fetch --nowhere")


def test_there_are_commands_in_the_documents_that_teach_them():
    names = {path.name for path in DOCUMENTS if commands.ours(path)}

    assert names >= {"SKILL.md", "getting_started.md", "patterns.md", "request_lines.md"}
    assert any(commands.mentioned(path) for path in DOCUMENTS)


def test_the_scripts_of_the_skill_do_every_step_that_it_describes(work, served, environment, run):
    (work / "reviews.csv").write_text("id,text\n" + "".join(f"a{n},text {n}\n" for n in range(30)))
    page = SKILL / "references" / "scripts.md"
    guide = [line for line in markdown.lines(SKILL / "SKILL.md", "sh") if "scripts/" in line]
    lines = guide + [line for line in markdown.lines(page, "sh") if "scripts/" in line]
    codes = []
    with served() as server:
        for line in lines:
            # The local server gives no estimate, and under a cap that would be a refusal.
            _, script, *words = shlex.split(line.replace(" --max-cost 2", ""))
            done = run(script.removeprefix("scripts/"), *words, **server.variables)
            assert done.code in {0, 8}, (line, done.err)
            codes.append(done.code)

    # Made-up answers of more than 20 tokens are truncated, so some run ends with rows to retry.
    assert codes.count(8) < len(codes) / 2
    assert len((work / "answers.csv").read_text().splitlines()) == 31


@pytest.mark.posix("lines for bash")
def test_the_curl_forms_work_on_the_local_server(work, served, environment, requests_of):
    requests_of(3)
    path = SKILL / "references" / "api_reference.md"
    variables = {}
    with served() as server:
        for line in markdown.lines(path, "sh"):
            if not line.startswith("curl"):
                continue
            done = subprocess.run(
                ["bash", "-c", line + " -w '\\n%{http_code}'"],
                cwd=work,
                env=environment
                | variables
                | {
                    "DOUBLEWORD_BASE_URL": server.base_url,
                    "AUTH": f"Authorization: Bearer {server.token}",
                },
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            body, _, status = done.stdout.rpartition("\n")
            nothing_to_retry = line.endswith('/retry" -H "$AUTH"') and status == "400"
            assert status.startswith("2") or nothing_to_retry, (line, done.stdout)
            if '"object":"file"' in body.replace(" ", "") and "FILE_ID" not in variables:
                variables["FILE_ID"] = json.loads(body)["id"]
            if '"object":"batch"' in body.replace(" ", "") and "BATCH_ID" not in variables:
                batch = json.loads(body)
                variables["BATCH_ID"] = batch["id"]
                variables["OUTPUT_FILE_ID"] = batch["output_file_id"]

    assert {"FILE_ID", "BATCH_ID"} <= variables.keys()


def test_the_python_examples_run(work, served, environment, requests_of):
    requests_of(3)
    (work / "images").mkdir()
    with sqlite3.connect(work / "shop.db") as shop:
        shop.execute("CREATE TABLE orders (id, text, year)")
        shop.execute("INSERT INTO orders VALUES (1, 'a', 2026), (2, 'b', 2025)")
    shop.close()
    (work / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    rows = [{"custom_id": f"r{n}", "outcome": "ok", "embedding": [n, 1.0]} for n in range(1, 4)]
    (work / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = [block for path in DOCUMENTS for block in markdown.blocks(path, "python")]
    with served() as server:
        for example in examples:
            subprocess.run(
                [sys.executable, "-c", example],
                cwd=work,
                env=environment | server.variables | {"DOUBLEWORD_BATCH_HOME": str(work / "home")},
                capture_output=True,
                timeout=240,  # under Wine on a busy machine one took more than 60
                check=True,
            )

    assert len(examples) >= 4
    assert json.loads((work / "edited.jsonl").read_text())["custom_id"] == "a"
    assert (work / "orders.csv").read_text().split() == ["id,text", "1,a"]


# JSON


@documents
def test_every_json_example_is_json(path):
    for block in markdown.blocks(path, "json"):
        values = [block] if not block.startswith('{"') else block.splitlines()
        for value in values:
            json.loads(value)


async def test_every_tool_call_fits_the_tools_schema():
    schemas = {
        tool.name: tool.input_schema
        for tool in await build_server(Settings.from_environment({})).list_tools()
    }

    lines = [line for path in DOCUMENTS for line in markdown.lines(path, "json")]
    calls = [json.loads(line) for line in lines if line.startswith('{"tool"')]
    for call in calls:
        jsonschema.validate(call["arguments"], schemas[call["tool"]])
        assert schemas[call["tool"]]["additionalProperties"] is False
    assert {call["tool"] for call in calls} == schemas.keys() - {"upload", "list", "cancel"}


def test_every_request_line_is_one_that_the_provider_takes(tmp_path):
    blocks = [block for path in DOCUMENTS for block in markdown.blocks(path, "jsonl")]
    assert len(blocks) >= 6
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(block, encoding="utf-8")

        report = validate_request_file(file, profile("doubleword"))

        assert report.ok, report.groups
        assert report.requests


# Facts


def test_every_error_code_is_documented_and_no_other():
    path = SKILL / "references" / "errors.md"
    codes = set()
    for title in (
        "Correct the arguments or the data",
        "Ask the person",
        "The provider rejected it, or something else answered",
        "Wait and repeat",
        "This machine",
    ):
        found = [code for cells in markdown.rows(markdown.section(path, title))
                 for code in markdown.named(cells[0])]  # fmt: skip
        assert not codes & set(found)
        codes |= set(found)

    assert codes == codes_of_the_package()


@pytest.mark.parametrize("name", ["SKILL.md", "references/errors.md"])
def test_the_exit_codes_of_the_scripts_are_documented(name, run):
    shown = run("run_batch.py", "--help").out.partition("exit codes:")[2]
    text = (SKILL / name).read_text(encoding="utf-8")
    (listed,) = re.findall(r"(?:Exit codes: |an exit code: )([^.]*)\.", text)

    assert re.findall(r"\b\d+\b", listed) == re.findall(r"^ *(\d+) ", shown, re.MULTILINE)


def test_every_cause_is_documented():
    path = SKILL / "references" / "errors.md"
    cells = markdown.rows(markdown.section(path, "Causes of rows"))
    documented = {cause for row in cells for cause in markdown.named(row[0])}

    assert documented - {"http_500"} == set(causes._ADVICE)


def test_the_outcomes_are_those_of_the_ledger():
    cells = markdown.rows(markdown.section(SKILL / "SKILL.md", "Read the ledger"))

    assert {name.strip() for row in cells for name in row[0].split(",")} == set(OUTCOMES)


def test_the_prices_are_those_of_the_profile_and_dated():
    prices = profile("doubleword").prices
    path = SKILL / "references" / "pricing.md"
    shown = {row[0]: row[2:] for row in markdown.rows(path.read_text(encoding="utf-8"))}

    assert shown == {
        model: [" / ".join(map(str, windows[name])) for name in ("1h", "24h")]
        for model, windows in prices.models.items()
    }
    assert f"read on {prices.date.isoformat()}. They are not live." in path.read_text()


def test_the_settings_are_those_that_the_package_reads():
    path = SKILL / "references" / "getting_started.md"
    documented = {
        name
        for row in markdown.rows(markdown.section(path, "Settings"))
        for name in markdown.named(row[0])
    }
    source = (ROOT / "server" / "doubleword_batch" / "settings.py").read_text(encoding="utf-8")

    assert documented == set(re.findall(r'"(DOUBLEWORD_[A-Z_]+)"', source))


def test_models_that_examples_name_are_on_the_price_list():
    known = set(profile("doubleword").prices.models)
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\b(?:Qwen|openai|nvidia)/[A-Z][\w.-]+\w", text)) <= known
