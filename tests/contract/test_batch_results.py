"""A batch's output file, error file and results, as the real server gives them."""

import json
import uuid

from contract.stand_in import line, until


def names(rows):
    return [row["custom_id"] for row in rows]


def test_output_and_error_lines_have_the_wire_s_shape(caller):
    batch = caller.wait(caller.create(line("a"), line("bad-1"))["id"])

    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    [output] = caller.lines(batch["output_file_id"])
    assert output["id"].startswith("batch_req_")
    assert output["response"]["status_code"] == 200
    assert output["response"]["request_id"] is None
    assert output["response"]["body"]["echo"] == "a"
    assert output["error"] is None
    [error] = caller.lines(batch["error_file_id"])
    assert error["response"] is None
    assert error["error"]["code"] is None
    assert json.loads(error["error"]["message"]) == {
        "type": "NonRetriableHttpStatus",
        "details": {"status": 400, "body": "no such thing"},
    }


def test_a_body_that_cannot_be_read_is_its_rows_failure(caller):
    body = (
        b'{"custom_id":"%b","method":"POST","url":"/v1/completions","body":{"model":"chat-1"%b}}\n'
    )
    batch = caller.create(body % (b"far", b',"seed":1e999'), body % (b"near", b""))
    done = caller.wait(batch["id"])
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    [failed] = caller.lines(batch["error_file_id"])
    assert failed["custom_id"] == "far"
    reason = json.loads(failed["error"]["message"])
    assert reason["type"] == "RequestBuilderError"
    assert "cannot be read" in reason["details"]["error"]


def test_only_a_batch_without_any_success_fails_and_its_error_file_is_there(caller):
    batch = caller.wait(caller.create(line("bad-1"), line("bad-2"))["id"])
    assert batch["status"] == "failed"
    assert "completed_at" not in batch
    assert batch["failed_at"]
    assert len(caller.lines(batch["error_file_id"])) == 2


def test_partial_results_grow_in_order_of_completion(caller, echo):
    batch = caller.create(line("hold-1"), line("a"), line("b"))
    output = batch["output_file_id"]
    caller.wait_for_counts(batch["id"], completed=2)

    partial = caller.content(output)

    assert partial.headers["x-incomplete"] == "true"
    assert partial.headers["x-last-line"] == "2"
    assert set(names(caller.lines(output))) == {"a", "b"}
    echo.gate.set()
    caller.wait(batch["id"])
    rest = caller.content(output, skip=2)
    assert rest.headers["x-incomplete"] == "false"
    assert rest.headers["x-last-line"] == "3"
    assert names(map(json.loads, rest.text.splitlines())) == ["hold-1"]
    assert names(caller.lines(output))[2] == "hold-1"


def test_a_file_without_lines_yet_is_200_and_empty(caller):
    batch = caller.create(line("hold-1"))
    for name in ("output_file_id", "error_file_id"):
        answer = caller.content(batch[name])
        assert answer.status_code == 200
        assert answer.content == b""
        assert answer.headers["x-last-line"] == "0"
        assert answer.headers["x-incomplete"] == "true"


def test_a_page_says_incomplete_while_there_is_more_or_the_batch_runs(caller, echo):
    batch = caller.create(*(line(f"r{n}") for n in range(3)), line("hold-1"))
    output = batch["output_file_id"]
    caller.wait_for_counts(batch["id"], completed=3)
    page = caller.content(output, skip=1, limit=2)
    assert (page.headers["x-last-line"], page.headers["x-incomplete"]) == ("3", "true")
    echo.gate.set()
    caller.wait(batch["id"])
    page = caller.content(output, skip=1, limit=2)
    assert (page.headers["x-last-line"], page.headers["x-incomplete"]) == ("3", "true")
    page = caller.content(output, skip=3, limit=2)
    assert (page.headers["x-last-line"], page.headers["x-incomplete"]) == ("4", "false")
    page = caller.content(output, skip=9, limit=2)
    assert (page.headers["x-last-line"], page.content) == ("9", b"")


def test_a_page_holds_at_most_101_lines_and_a_stream_all(caller):
    batch = caller.wait(caller.create(*(line(f"r{n}") for n in range(2500)))["id"])
    assert len(caller.lines(batch["output_file_id"], limit=5000)) == 101
    assert len(set(names(caller.lines(batch["output_file_id"])))) == 2500
    assert len(caller.lines(batch["output_file_id"], skip=1700)) == 800


def test_offset_is_ignored_and_skip_is_not(caller):
    batch = caller.wait(caller.create(line("a"), line("b"))["id"])
    assert len(caller.lines(batch["output_file_id"], offset=1)) == 2
    assert len(caller.lines(batch["output_file_id"], skip=1)) == 1


def test_a_searched_stream_has_no_last_line(caller):
    batch = caller.wait(caller.create(line("a1"), line("b1"))["id"])
    answer = caller.content(batch["output_file_id"], search="A")
    assert names(map(json.loads, answer.text.splitlines())) == ["a1"]
    assert "x-last-line" not in answer.headers
    paged = caller.content(batch["output_file_id"], search="a", limit=1)
    assert (paged.headers["x-last-line"], paged.headers["x-incomplete"]) == ("1", "false")


def test_results_come_in_order_of_input_with_what_went_in(caller):
    batch = caller.create(line("hold-1"), line("bad-1"), line("a"))
    caller.wait_for_counts(batch["id"], completed=1, failed=1)
    url = f"/batches/{batch['id']}/results"

    answer = caller.http.get(url)

    rows = [json.loads(row) for row in answer.text.splitlines()]
    assert names(rows) == ["hold-1", "bad-1", "a"]
    assert [row["status"] for row in rows] == ["in_progress", "failed", "completed"]
    assert answer.headers["x-last-line"] == "3"
    assert answer.headers["x-incomplete"] == "true"
    assert rows[0]["response_body"] is None
    assert rows[0]["error"] is None
    assert rows[1]["error"].startswith('{"type":"NonRetriableHttpStatus"')
    assert rows[2]["response_body"]["echo"] == "a"
    assert rows[2]["input_body"]["messages"][0]["content"] == "a"
    assert rows[2]["model"] == "chat-1"
    assert str(uuid.UUID(rows[2]["id"])) == rows[2]["id"]
    failed = caller.http.get(url, params={"status": "failed"})
    assert names(map(json.loads, failed.text.splitlines())) == ["bad-1"]
    assert failed.headers["x-last-line"] == "1"
    unknown = caller.http.get(url, params={"status": "lost"})
    assert (unknown.status_code, unknown.text) == (200, "")


def test_cancelled_requests_are_pending_in_the_results(caller, echo):
    batch = caller.create(line("hold-1"))
    until(lambda: echo.running == 1)
    caller.http.post(f"/batches/{batch['id']}/cancel")
    answer = caller.http.get(f"/batches/{batch['id']}/results")
    assert json.loads(answer.text)["status"] == "pending"
    assert answer.headers["x-incomplete"] == "false"
