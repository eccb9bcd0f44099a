"""One table of examples over all three: the scripts, the tools, and what the skill says of both."""

import json

import pytest

from agent import ORDER_TOOL, agent
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings
from skill import markdown
from skill.places import SKILL
from skill.results import FAST

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "error": {"type": "string"}},
    "required": ["label", "error"],
    "additionalProperties": False,
}
TOOLS = [ORDER_TOOL]
FAULTS = [
    RequestFault(fault="error", status=400, match=Match(custom_id="r2"), message="no"),
    RequestFault(fault="invalid", match=Match(custom_id="r3")),
]

# What is asked for, and the columns that it gives beside the source's and the ledger's.
EXAMPLES = {
    "text": ({}, ["answer"]),
    "schema": ({"response_schema": SCHEMA}, ["label", "answer_error", "answer"]),
    "tools": (
        {"params": {"tools": TOOLS, "tool_choice": "required"}},
        [
            "tool_name",
            "tool_arguments",
            "tool_arguments.item",
            "tool_arguments.count",
            "tool_calls",
            "answer",
        ],
    ),
    "embeddings": ({"endpoint": "/v1/embeddings"}, ["embedding"]),
    "responses": (
        {"endpoint": "/v1/responses", "response_schema": SCHEMA},
        ["label", "answer_error", "answer"],
    ),
}


def words_of(asked):
    """The same as arguments of the script."""
    words = []
    if "response_schema" in asked:
        words += ["--schema", json.dumps(asked["response_schema"])]
    if "endpoint" in asked:
        words += ["--endpoint", asked["endpoint"]]
    for name, value in asked.get("params", {}).items():
        words += ["--param", f"{name}={json.dumps(value)}"]
    return words


@pytest.mark.parametrize("name", EXAMPLES)
async def test_scripts_and_tools_write_the_same_table_with_the_columns_that_the_skill_names(
    run, work, served, tmp_path, name
):
    asked, columns = EXAMPLES[name]
    mark = "\ufeff" if name == next(iter(EXAMPLES)) else ""  # the table then has it, too
    (work / "t.csv").write_text(
        mark + "id,text,label\n" + "".join(f"{n},=x{n},+{n}\n" for n in range(6)), encoding="utf-8"
    )
    made = run(
        "create_batch_file.py", "t.csv", "--prompt", "Say {{ text }}", "--model", "m",
        *words_of(asked), "-o", "requests.jsonl",
    )  # fmt: skip
    with served(requests=FAULTS) as server:
        run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
        variables = server.variables | {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "other"),
            "DOUBLEWORD_BATCH_ROOTS": str(work),
        }
        async with agent(Settings.from_environment(variables)) as a:
            order = {"source": "t.csv", "prompt": "Say {{ text }}", "model": "m", **asked}
            reply = await a.runs_job(work / "tools.csv", **order)
            lines = str(work / "tools.jsonl")
            await a.calls("fetch_results", job=reply["job"], output_path=lines)
    results = ("requests.results.jsonl", "requests.errors.jsonl", "--requests", "requests.jsonl")
    for form in ("csv", "jsonl"):
        shown = run(
            "summarize_results.py", *results, "--source", "t.csv", "--table", f"script.{form}"
        )
        by_script = (work / f"script.{form}").read_bytes()
        assert by_script == (work / f"tools.{form}").read_bytes()
        assert by_script.startswith(mark.encode()) or form != "csv"

    assert made.code == 0, made.err
    counts = ", ".join(f"{count} {outcome}" for outcome, count in reply["ledger"].items())
    assert sorted(shown.out.splitlines()[0].partition(": ")[2].split(", ")) == sorted(
        counts.split(", ")
    )
    found = list(json.loads(by_script.splitlines()[0]))
    given = ["id", "text", "source_label" if "label" in columns else "label"]
    assert found == [*given, "custom_id", "outcome", *columns, "error"]
    assert set(columns) <= documented() | set(SCHEMA["properties"]) | {"answer_error"}


def test_blank_rows_and_a_prompt_without_a_column_are_treated_as_the_tools_treat_them(run, work):
    (work / "t.csv").write_text("id,text\n1,a\n2,  \n3,c\n", encoding="utf-8")
    asked = ("--model", "m", "-o", "out.jsonl")

    done = run("create_batch_file.py", "t.csv", "--prompt", "Say {{ text }}", *asked)
    constant = run(
        "create_batch_file.py", "t.csv", "--prompt", "Say {text}", *asked, "--overwrite"
    )  # fmt: skip

    ids = [json.loads(line)["custom_id"] for line in (work / "out.jsonl").read_text().splitlines()]
    assert ids == ["r1", "r3"]
    assert "1 rows are blank in the prompt's columns: skipped" in done.out
    assert done.code == 0
    assert constant.code == 3
    assert "uses no column" in constant.err
    assert "{{ column }}" in constant.err

    answer = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
    lines = [{"custom_id": name, "response": {"status_code": 200, "body": answer}} for name in ids]
    (work / "out.results.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    asked = ("--requests", "out.jsonl", "--source", "t.csv", "--table", "table.csv")
    told = run("summarize_results.py", "out.results.jsonl", *asked)
    assert "2 requests: 2 ok" in told.out
    left = "not in the table: 1 rows of the source without a request, such as blank ones"
    assert left in told.out


def test_a_folder_is_not_called_a_missing_file(run, work):
    (work / "notes").mkdir()
    done = run("create_batch_file.py", "notes", "--prompt", "x", "--model", "m", "-o", "x.jsonl")
    assert done.code == 3
    assert "«notes» is a folder." in done.err
    assert "the tools read folders" in done.err


def documented():
    """The columns that the reference on tables names; a tool's arguments by their example."""
    section = markdown.section(SKILL / "references" / "tables.md", "The table of answers")
    named = {
        name for row in markdown.rows(section) for cell in row for name in markdown.named(cell)
    }
    return named | {"tool_arguments.count"}


def test_rows_of_a_stopped_batch_are_cancelled_and_every_attempt_is_counted(run, work):
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": {}}
        for n in range(1, 4)
    ]
    (work / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (work / "q.jsonl.state.json").write_text('{"ended": "cancelled"}')
    body = {
        "choices": [{"message": {"content": "ab"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }
    cut = {"custom_id": "r1", "response": {"status_code": 200, "body": body}}
    whole = json.loads(json.dumps(cut).replace('"length"', '"stop"').replace('"ab"', '"abc"'))
    (work / "q.results.jsonl").write_text(json.dumps(cut) + "\n")
    (work / "again.results.jsonl").write_text(json.dumps(whole) + "\n")

    done = run(
        "summarize_results.py", "q.results.jsonl", "again.results.jsonl",
        "--requests", "q.jsonl", "--table", "t.jsonl",
    )  # fmt: skip

    rows = [json.loads(line) for line in (work / "t.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["ok", "cancelled", "cancelled"]
    assert rows[1]["error"] == "cancelled"
    assert "tokens: 20 in, 4 out, of all attempts" in done.out
