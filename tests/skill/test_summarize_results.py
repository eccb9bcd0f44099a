import csv
import json

import msgspec
import pytest

from doubleword_batch.jobs.build import BuildRequest, create_batch_file
from doubleword_batch.jobs.export.write_table import HarmlessCells
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.jobs.sync.parse import parse_line
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings
from result_lines import CASES, NO_RESULT_LINES
from result_lines.elsewhere import WAITING
from skill.conftest import open_workspace
from skill.places import script_module

FAST = ("--poll", "0.1", "--patience", "20")
FILES = ("requests.results.jsonl", "requests.errors.jsonl")
FAULTS = (
    RequestFault(fault="error", status=400, message="no", match=Match(custom_id="r2")),
    RequestFault(fault="error", status=422, match=Match(custom_id="r3")),
    RequestFault(fault="truncated", match=Match(custom_id="r4")),
    RequestFault(fault="refusal", match=Match(custom_id="r5")),
)


def ledger_in(out):
    first = out.splitlines()[0].partition(": ")[2]
    return {outcome: int(count) for count, outcome in (part.split() for part in first.split(", "))}


async def test_counts_what_the_packages_ledger_counts(run, work, served, requests_of, tmp_path):
    path = requests_of(12)
    with served(requests=FAULTS) as server:
        run("run_batch.py", path.name, *FAST, **server.variables)
        journal = json.loads((work / "requests.jsonl.state.json").read_text())
        settings = Settings.from_environment(
            server.variables | {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "other")}
        )
        async with open_workspace(settings) as ws:
            results = await fetch_results(ws, journal["batch_id"])

    done = run("summarize_results.py", *FILES, "--requests", path.name)

    assert done.code == 8
    assert ledger_in(done.out) == {k: v for k, v in results.ledger.items() if v}
    assert {"ok", "failed", "truncated", "refused"} == ledger_in(done.out).keys()
    assert "failed (http_400): 1, for example «no»" in done.out
    assert len(done.out.encode()) < 2048


def test_a_request_that_waits_has_no_outcome_yet():
    read = script_module("answers").read_line
    assert {read(line).outcome for line in WAITING} == {"pending"}


def test_every_line_is_what_the_package_calls_it(run, work):
    """The lines and their meanings are those that the package is held to."""
    lines = [
        case.line.replace(b'"r1"', b'"r%d"' % number) for number, case in enumerate(CASES.values())
    ]
    (work / "results.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))

    done = run("summarize_results.py", "results.jsonl", "--table", "table.jsonl")

    found = [json.loads(line) for line in (work / "table.jsonl").read_text("utf-8").splitlines()]
    for case, line, row in zip(CASES.values(), lines, found, strict=True):
        assert (row["custom_id"], row["outcome"]) == (parse_line(line).custom_id, case.outcome)
        if case.outcome == "ok":
            assert row["answer"] == json.loads(msgspec.json.encode(case.answer))
            assert row["error"] is None
        else:
            message = parse_line(line).message
            assert row["error"] == (f"{case.cause}: {message}" if message else case.cause)
    assert "not result lines" not in done.out


def test_lines_that_are_none_are_counted_and_harm_nothing(run, work):
    bad = b"".join(line + b"\n" for line in NO_RESULT_LINES)
    (work / "results.jsonl").write_bytes(bad + CASES["plain"].line + b"\n" + bad)

    done = run("summarize_results.py", "results.jsonl")

    assert ledger_in(done.out) == {"ok": 1}
    shown = 2 * sum(bool(line.strip()) for line in NO_RESULT_LINES)
    assert f"{shown} lines are not result lines" in done.out


def test_only_what_failed_is_asked_again_and_the_answers_come_together(
    run, work, served, requests_of
):
    requests_of(12)
    with served(requests=FAULTS) as server:
        run("run_batch.py", "requests.jsonl", *FAST, **server.variables)
    first = run(
        "summarize_results.py", *FILES, "--requests", "requests.jsonl", "--retry", "again.jsonl"
    )
    with served() as server:
        again = run("run_batch.py", "again.jsonl", *FAST, **server.variables)

    done = run(
        "summarize_results.py", *FILES, "again.results.jsonl", "--requests", "requests.jsonl",
        "--table", "answers.csv", "--retry", "third.jsonl",
    )  # fmt: skip

    assert "retry: again.jsonl, 4 requests" in first.out
    assert again.code == done.code == 0, again.err
    assert ledger_in(done.out) == {"ok": 12}
    assert "retry: nothing is left" in done.out
    with (work / "answers.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(1, 13)]
    assert all(row["answer"] for row in rows)


def test_a_retry_may_be_for_one_cause_and_with_more_tokens(run, work, served, requests_of):
    requests_of(12)
    with served(requests=FAULTS) as server:
        run("run_batch.py", "requests.jsonl", *FAST, **server.variables)

    options = ("--requests", "requests.jsonl", "--retry", "again.jsonl")
    by_outcome = run("summarize_results.py", *FILES, *options, "--cause", "truncated")
    longer = run(
        "create_batch_file.py", "--requests", "again.jsonl", "--param", "max_tokens=200",
        "--output", "longer.jsonl",
    )  # fmt: skip
    by_cause = run(
        "summarize_results.py", *FILES, *options, "--overwrite", "--cause", "http_400",
        "--cause", "http_422",
    )  # fmt: skip

    assert "retry: again.jsonl, 1 requests" in by_outcome.out
    assert "retry: again.jsonl, 2 requests" in by_cause.out
    assert longer.code == 0, longer.err
    (line,) = (work / "longer.jsonl").read_text().splitlines()
    assert json.loads(line)["custom_id"] == "r4"
    assert json.loads(line)["body"]["max_tokens"] == 200


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_beside_its_source_it_is_the_table_that_the_package_writes(
    run, work, served, tmp_path, form
):
    (work / "t.csv").write_text(
        "id,text,answer\n" + "".join(f"{n},=x{n},+{n}\n" for n in range(12))
    )
    asked = ("--prompt", "Say {{ text }}", "--model", "m")
    run("create_batch_file.py", "t.csv", *asked, "-o", "requests.jsonl", "--max-requests", "5")
    parts = sorted(path.name for path in work.glob("requests*.jsonl"))
    with served(requests=FAULTS) as server:
        run("run_batch.py", *parts, *FAST, **server.variables)
        variables = server.variables | {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "other"),
            "DOUBLEWORD_BATCH_ROOTS": str(work),
        }
        async with open_workspace(Settings.from_environment(variables)) as ws:
            order = BuildRequest(source="t.csv", prompt="Say {{ text }}", model="m")
            job = (await create_batch_file(ws, order)).job
            await create_batch(ws, job)
            await fetch_results(ws, job, output_path=f"package.{form}", wait_seconds=45)
    results = sorted(path.name for path in work.glob("requests*.*s.jsonl"))

    run(
        "summarize_results.py", *results, "--requests", *parts, "--source", "t.csv",
        "--table", f"script.{form}",
    )  # fmt: skip

    assert parts[0] != "requests.jsonl"
    assert (work / f"script.{form}").read_bytes() == (work / f"package.{form}").read_bytes()


def test_a_source_that_the_requests_are_not_of_is_refused(run, work, requests_of):
    requests_of(3)
    (work / "results.jsonl").write_text("")
    (work / "short.csv").write_text("text\na\n")
    (work / "foreign.jsonl").write_text('{"custom_id": "x", "body": {}}\n')
    table = ("--table", "out.csv")

    short = run(
        "summarize_results.py", "results.jsonl", "--requests", "requests.jsonl",
        "--source", "short.csv", *table,
    )  # fmt: skip
    foreign = run(
        "summarize_results.py", "results.jsonl", "--requests", "foreign.jsonl",
        "--source", "table.csv", *table,
    )  # fmt: skip
    no_table = run("summarize_results.py", "results.jsonl", "--source", "table.csv")

    assert (short.code, foreign.code, no_table.code) == (3, 3, 2)
    assert "The source has no row 2" in short.err
    assert "The request «x» does not name a row" in foreign.err
    assert not (work / "out.csv").exists()


def test_a_file_of_results_is_not_taken_for_requests(run, work):
    (work / "results.jsonl").write_text('{"custom_id": "a", "response": null}\n')

    done = run("summarize_results.py", "results.jsonl", "--requests", "results.jsonl")

    assert done.code == 3
    assert "Line 1 of «results.jsonl» is not a request" in done.err


def test_a_request_without_a_line_is_missing(run, work, requests_of):
    requests_of(3)
    (work / "results.jsonl").write_text("")

    done = run("summarize_results.py", "results.jsonl", "--requests", "requests.jsonl")

    assert done.code == 8
    assert ledger_in(done.out) == {"missing": 3}


def test_answers_are_shown_as_quoted_text_that_cannot_leave_its_line(run, work):
    answer = "»\n100 requests: 100 ok\x1b[2J" + "x" * 10_000
    body = {"choices": [{"message": {"content": answer}}]}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": body}}
    (work / "results.jsonl").write_text(json.dumps(line) + "\nnot json\n")

    done = run("summarize_results.py", "results.jsonl", "--sample", "20")

    assert done.out.count("100 requests") == 1
    assert not any(text.startswith("100") for text in done.out.splitlines())
    assert "\x1b" not in done.out
    assert "1 lines are not result lines" in done.out
    assert len(done.out) < 1000


def test_no_answer_becomes_a_formula_in_a_spreadsheet_and_each_stays_one_record(
    run, work, tmp_path
):
    answers = [
        "=1+1", "+49 30", "-x", "-1.5e3%", "@SUM(A1)", "\tx", "\rx", "a\rb", 'a\nb,"c"', "'=", "1",
        "\n=1", "1;=1", "\uff1d1", "a\n- b\n-1", "\u200b=1", "- a\n=b|c!d", "x\ty; =1",
    ]  # fmt: skip
    bodies = [{"choices": [{"message": {"content": answer}}]} for answer in answers]
    with (work / "results.jsonl").open("w", encoding="utf-8") as file:
        for number, body in enumerate(bodies):
            response = {"status_code": 200, "body": body}
            file.write(json.dumps({"custom_id": f"={number}", "response": response}) + "\n")

    run("summarize_results.py", "results.jsonl", "--table", "table.csv")
    run("summarize_results.py", "results.jsonl", "--table", "table.jsonl")

    with (work / "table.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["answer"] for row in rows] == [HarmlessCells()(answer) for answer in answers]
    assert rows[0]["answer"] == "'=1+1"
    assert rows[0]["custom_id"] == "'=0"
    lines = (work / "table.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"] for line in lines] == answers


def test_bad_input_is_one_line_and_leaves_nothing(run, work):
    (work / "results.jsonl").write_text("")
    (work / "table.csv").write_text("mine")

    no_file = run("summarize_results.py", "nowhere.jsonl", "--table", "t.csv")
    exists = run("summarize_results.py", "results.jsonl", "--table", "table.csv")
    no_requests = run("summarize_results.py", "results.jsonl", "--retry", "again.jsonl")

    assert (no_file.code, exists.code, no_requests.code) == (3, 3, 2)
    for done in (no_file, exists, no_requests):
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
    assert (work / "table.csv").read_text() == "mine"
    assert len(list(work.iterdir())) == 2
