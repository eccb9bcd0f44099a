"""How requests are run: bounded, retried, timed, and never lost."""

import json
import logging
import time

from contract.stand_in import Echo, line, until


def reason(caller, batch):
    [row] = caller.lines(batch["error_file_id"])
    return json.loads(row["error"]["message"])


def test_no_more_requests_run_at_once_than_configured(start):
    echo = Echo(concurrency=50)
    caller = start(echo, concurrency=3)
    batch = caller.create(*(line(f"hold-{n}") for n in range(40)))
    until(lambda: echo.running == 3)
    echo.gate.set()
    assert caller.wait(batch["id"])["request_counts"]["completed"] == 40
    assert echo.most_running == 3


def test_a_failure_of_the_moment_is_tried_again_up_to_the_limit(start, echo):
    caller = start(echo, max_attempts=3)
    batch = caller.wait(caller.create(line("down-1"))["id"])
    assert echo.calls["down-1"] == 3
    assert reason(caller, batch) == {
        "type": "RetriableHttpStatus",
        "details": {"status": 503, "body": "down"},
    }


def test_a_failure_for_good_is_not_tried_again(caller, echo):
    caller.wait(caller.create(line("bad-1"))["id"])
    assert echo.calls["bad-1"] == 1


def test_retry_after_is_waited_for_without_holding_a_slot(start, echo):
    caller = start(echo, concurrency=1)
    begin = time.monotonic()
    batch = caller.create(line("busy-1"), *(line(f"r{n}") for n in range(20)))
    caller.wait_for_counts(batch["id"], completed=20)
    assert caller.wait(batch["id"])["request_counts"]["completed"] == 21
    assert time.monotonic() - begin >= 0.9
    assert echo.calls["busy-1"] == 2
    assert caller.lines(batch["output_file_id"])[-1]["custom_id"] == "busy-1"


def test_past_the_deadline_nothing_is_tried_again(start, echo):
    caller = start(echo, windows=("0m",))
    caller.wait(caller.create(line("down-1"), completion_window="0m")["id"])
    assert echo.calls["down-1"] == 1


def test_an_attempt_that_takes_too_long_is_given_up(start, echo):
    caller = start(echo, request_timeout_seconds=0.05, max_attempts=2)
    batch = caller.wait(caller.create(line("slow-1"))["id"])
    assert echo.calls["slow-1"] == 2
    assert reason(caller, batch)["type"] == "Timeout"


def test_a_bug_of_the_executor_costs_its_row_only(caller, caplog):
    with caplog.at_level(logging.ERROR):
        batch = caller.wait(caller.create(line("bug-1"), line("a"))["id"])
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert reason(caller, batch)["type"] == "RequestBuilderError"
    assert "KeyError" in caplog.text


def test_a_full_house_still_moves_other_batches_on(start, echo):
    caller = start(echo, concurrency=1)
    held = caller.create(*(line(f"hold-{n}") for n in range(10)))
    until(lambda: echo.running == 1)
    later = caller.create(line("a"))
    assert caller.wait(later["id"], "in_progress")
    echo.gate.set()
    caller.wait(held["id"])
    caller.wait(later["id"])


def test_an_answer_that_is_there_when_the_server_stops_is_kept(start, echo):
    first = start(echo)
    batch = first.create(*(line(f"r{n}") for n in range(300)))
    until(lambda: sum(echo.calls.values()) >= 100)
    first.server.stop()
    second = start(echo)
    second.wait(batch["id"])
    assert len(second.lines(batch["output_file_id"])) == 300
    assert set(echo.calls.values()) == {1}


def test_stopping_gives_running_requests_back_and_a_new_server_runs_them(start, echo):
    first = start(echo)
    batch = first.create(line("hold-1"), line("a"))
    first.wait_for_counts(batch["id"], completed=1)
    begin = time.monotonic()
    first.server.stop()
    assert time.monotonic() - begin < 5
    echo.gate.set()
    second = start(echo)
    done = second.wait(batch["id"])
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert (echo.calls["hold-1"], echo.calls["a"]) == (2, 1)
