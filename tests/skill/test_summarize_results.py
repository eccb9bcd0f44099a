import csv
import json

from doubleword_batch.config import Settings
from doubleword_batch.jobs.answers import answer_in, read_line
from doubleword_batch.jobs.fetch import fetch_results
from doubleword_batch.local.faults import Match, RequestFault
from doubleword_batch.session import opened

FAST = ("--poll", "0.1", "--patience", "20")
FILES = ("requests.results.jsonl", "requests.errors.jsonl")
FAULTS = (
    RequestFault(fault="error", status=400, message="no", match=Match(custom_id="r2")),
    RequestFault(fault="error", status=422, match=Match(custom_id="r3")),
    RequestFault(fault="truncated", match=Match(custom_id="r4")),
    RequestFault(fault="refusal", match=Match(custom_id="r5")),
)

LINES = [
    {"error": {"code": "batch_expired", "message": "late"}, "response": None},
    {"error": {"code": "batch_cancelled", "message": ""}, "response": None},
    {"error": {"code": None, "message": '{"type":"Timeout","details":{"error":"slow"}}'}},
    {"error": {"message": '{"type":"TaskTerminated"}'}, "response": None},
    {
        "error": {
            "message": '{"type":"NonRetriableHttpStatus","details":{"status":400,"body":'
            '"{\\"error\\":{\\"message\\":\\"maximum context length\\"}}"}}'
        }
    },
    {"error": "plain words", "response": None},
    {"error": None, "response": None},
    {"error": None, "response": {"status_code": 429, "body": {"error": {"message": "busy"}}}},
    {"error": None, "response": {"status_code": 200, "body": "text"}},
    {"error": None, "response": {"status_code": 200, "body": {"error": {"message": "inner"}}}},
    {"response": {"status_code": 200, "body": {"choices": [{"message": {"content": ""}}]}}},
    {
        "response": {
            "status_code": 200,
            "body": {
                "choices": [{"message": {"content": "hi"}, "finish_reason": "content_filter"}]
            },
        }
    },
    {
        "response": {
            "status_code": 200,
            "body": {
                "choices": [
                    {"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}
                ]
            },
        }
    },
    {
        "response": {
            "status_code": 200,
            "body": {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "content": [{"text": "cut"}]}],
            },
        }
    },
    {"response": {"status_code": 200, "body": {"data": [{"embedding": [0.5, 1]}]}}},
]


def ledger_in(out):
    first = out.splitlines()[0].partition(": ")[2]
    return {outcome: int(count) for count, outcome in (one.split() for one in first.split(", "))}


async def test_counts_what_the_packages_ledger_counts(run, work, served, requests_of, tmp_path):
    path = requests_of(12)
    with served(requests=FAULTS) as server:
        run("run_batch.py", path.name, *FAST, **server.variables)
        journal = json.loads((work / "requests.jsonl.state.json").read_text())
        settings = Settings.from_environment(
            server.variables | {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "other")}
        )
        async with opened(settings) as session:
            results = await fetch_results(await session.workspace(), journal["batch_id"])

    done = run("summarize_results.py", *FILES, "--requests", path.name)

    assert done.code == 8
    assert ledger_in(done.out) == {k: v for k, v in results.ledger.items() if v}
    assert {"ok", "failed", "truncated", "refused"} == ledger_in(done.out).keys()
    assert "failed (http_400): 1, for example «no»" in done.out
    assert len(done.out.encode()) < 2048


def test_reads_every_kind_of_line_as_the_package_does(run, work):
    lines = [json.dumps({"custom_id": f"c{n}"} | line) for n, line in enumerate(LINES)]
    (work / "results.jsonl").write_text("".join(f"{line}\n" for line in lines))

    run("summarize_results.py", "results.jsonl", "--table", "table.jsonl")

    found = [json.loads(line) for line in (work / "table.jsonl").read_text().splitlines()]
    for line, row in zip(lines, found, strict=True):
        expected = read_line(line.encode())
        assert (row["custom_id"], row["outcome"]) == (expected.custom_id, expected.outcome)
        if expected.outcome == "ok":
            answer = answer_in(line.encode())
            value = answer.text or answer.tool_calls or answer.embedding
            assert row["answer"] == (value if isinstance(value, str) else json.dumps(value))


def test_causes_are_those_of_the_package(run, work):
    for number, line in enumerate(LINES):
        text = json.dumps({"custom_id": "c"} | line)
        (work / f"{number}.jsonl").write_text(text + "\n")
    for number, line in enumerate(LINES):
        done = run("summarize_results.py", f"{number}.jsonl")

        expected = read_line(json.dumps({"custom_id": "c"} | line).encode())
        if expected.outcome != "ok":
            assert f"{expected.outcome} ({expected.cause}): 1" in done.out


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
    assert "1 lines are no result lines" in done.out
    assert len(done.out) < 1000


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
