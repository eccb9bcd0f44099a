"""What a server counts and does not give yet is not missing: the rows wait, in bounded time."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from skill.results import ids_of
from skill.servers import OneBatch, serving_one

HASTY = ("--poll", "0.1", "--in-doubt", "2", "--patience", "0")
HOUR = 3_600
RESULTS, ERRORS = "requests.results.jsonl", "requests.errors.jsonl"


def line(row, **fields):
    message = {"role": "assistant", "content": f"answer {row}"}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    answer = {"response": {"status_code": 200, "body": body}}
    return json.dumps({"id": f"req_{row}", "custom_id": f"r{row}", **answer, **fields}) + "\n"


def failure(row):
    return line(row, response=None, error={"code": "bad", "message": "no"})


def lines(rows):
    return "".join(line(row) for row in rows).encode()


def counts(completed, failed=0):
    return {"request_counts": {"total": 10, "completed": completed, "failed": failed}}


ALL, HALF = lines(range(1, 11)), lines(range(1, 6))
UNCOUNTED, NO_ERRORS = "half of the lines, and no counts", "no file of errors yet"
ALL_FAILED = "no line of a batch that failed, and counts its failures"
CUT = {
    "half of the lines": (HALF, counts(10), 5),
    UNCOUNTED: (HALF, {}, 5),
    "half of the bytes": (ALL[: len(HALF) + 40], counts(10), 5),
    "an empty file": (b"", counts(10), 0),
    "the file of another batch": (ALL.replace(b'"r', b'"x'), counts(10), 0),
    "no file yet": (None, counts(10), 0),
    NO_ERRORS: (HALF, counts(5, 5), 5),
    ALL_FAILED: (None, {"status": "failed", **counts(0, 10)}, 0),
    "half of what was done when it was cancelled": (HALF, {"status": "cancelled", **counts(7)}, 5),
    "half of what was done when it expired": (HALF, {"status": "expired", **counts(7)}, 5),
}


@pytest.fixture
def cut(run, work, requests_of):
    """A batch of ten rows that has ended, whose file is cut; `fetch` runs the script."""
    requests_of(10)

    @contextmanager
    def cut(kind):
        content, batch, there = CUT[kind]
        server = OneBatch(**{"output_file_id": None if content is None else "out", **batch})
        server.files["out"] = content
        with serving_one(server) as variables:

            def fetch(*options):
                return run("run_batch.py", "requests.jsonl", *HASTY, *options, **variables)

            def whole():
                server.batch |= {"output_file_id": "out"}
                server.files["out"] = ALL

            yield SimpleNamespace(server=server, there=there, fetch=fetch, whole=whole)

    return cut


@pytest.fixture
def summary(run, work):
    """What the other script makes of what is there."""

    def summary(*options):
        (work / "none.jsonl").write_bytes(b"")
        there = [name for name in (RESULTS, ERRORS) if (work / name).exists()]
        names = there or ["none.jsonl"]
        done = run("summarize_results.py", *names, "--requests", "requests.jsonl", *options)
        return done.out

    return summary


def let_pass(work, seconds=HOUR):
    """Let the last line have come so long ago."""
    path = work / "requests.jsonl.state.json"
    state = json.loads(path.read_text())
    state["short_since"] -= seconds
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("kind", CUT)
def test_rows_whose_lines_a_cut_file_lacks_wait_for_them(cut, work, summary, kind):
    with cut(kind) as batch:
        for _ in range(2):
            ran = batch.fetch()
            assert ran.code == 9, ran.out + ran.err
            assert f"given lines for {batch.there} of its" in ran.out
            assert "Nothing has to be paid again" in ran.out
            assert not (work / RESULTS).exists()
        told = summary("--retry", "again.jsonl")
        assert "10 requests: 10 pending" in told
        assert "retry: nothing is left" in told
        batch.whole()
        ran = batch.fetch()
    assert ran.code == 0, ran.out + ran.err
    assert ids_of(work / RESULTS) == sorted(f"r{row}" for row in range(1, 11))
    assert len(batch.server.created) == 1


@pytest.mark.parametrize("kind", CUT)
def test_rows_whose_lines_never_come_wait_in_bounded_time(cut, work, summary, kind):
    with cut(kind) as batch:
        batch.fetch()
        let_pass(work)
        ran = batch.fetch()
        assert ran.code == 8, ran.out + ran.err
        status, lost = batch.server.batch["status"], 10 - batch.there
        assert f"{status}; {batch.there} answered, 0 failed, {lost} without a line" in ran.out
        # Where answers are counted, and not errors alone, some of what never came was paid for.
        outcome = status if status in {"cancelled", "expired"} else "missing"
        is_paid = outcome == "missing" and kind not in {NO_ERRORS, UNCOUNTED, ALL_FAILED}
        cause = "unreadable" if is_paid else outcome
        told = summary("--retry", "again.jsonl")
        assert f"{outcome} ({cause}): {lost}" in told
        assert ("still looks for them" in ran.out) == is_paid
        assert ("retry: nothing is left" in told) == is_paid
        if is_paid:
            assert f"{lost} requests" in summary("--retry", "again.jsonl", "--cause", cause)
            batch.whole()  # a later call still looks
            assert batch.fetch().code == 0
            assert "10 requests: 10 ok" in summary()
    assert len(batch.server.created) == 1


def test_a_later_look_that_finds_less_loses_nothing(cut, work):
    with cut("half of the lines") as batch:
        batch.fetch()
        let_pass(work)
        batch.fetch()
        for content in (lines([1]), (500, b"no")):
            batch.server.files["out"] = content
            ran = batch.fetch()
            assert "completed; 5 answered, 0 failed, 5 without a line" in ran.out
            assert ids_of(work / RESULTS) == sorted(f"r{row}" for row in range(1, 6))


def test_a_file_that_still_grows_is_waited_for_anew(cut, work):
    with cut("half of the lines") as batch:
        batch.fetch()
        for there in (6, 7, 8):
            let_pass(work)
            batch.server.files["out"] = lines(range(1, there + 1))
            ran = batch.fetch()
            assert (ran.code, f"given lines for {there} of" in ran.out) == (9, True), ran.out


def test_a_file_of_errors_may_be_named_after_the_batch_has_ended(cut, work):
    with cut(NO_ERRORS) as batch:
        assert batch.fetch().code == 9
        batch.server.batch |= {"error_file_id": "err"}
        batch.server.files["err"] = "".join(failure(row) for row in range(6, 11)).encode()
        assert "completed; 5 answered, 5 failed, 0 without a line" in batch.fetch().out


def test_rows_that_the_server_does_not_count_do_not_wait(cut, summary):
    with cut("half of the lines") as batch:
        batch.server.batch |= counts(5)
        assert "5 without a line" in batch.fetch().out
    assert "missing (missing): 5" in summary()


def test_lines_that_never_come_can_be_given_up_at_once(cut, summary):
    with cut("half of the lines") as batch:
        batch.fetch()
        assert batch.fetch("--cancel").code == 8
    assert "missing (unreadable): 5" in summary()
