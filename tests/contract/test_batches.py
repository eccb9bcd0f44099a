"""The /v1/batches routes, as the real server has them."""

import json
import uuid

import pytest

from contract.stand_in import assert_plain, line, until
from doubleword_batch.local import scheduler

UNKNOWN = "00000000-0000-4000-8000-000000000000"
DAY_SECONDS = 24 * 3600


def test_create_answers_201_with_both_file_ids_and_no_null(caller):
    file = caller.upload(line("hold-1"), line("a"))

    answer = caller.post_batch(file["id"])

    batch = answer.json()
    assert answer.status_code == 201
    assert batch["status"] == "validating"
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert batch["input_file_id"] == file["id"]
    assert batch["expires_at"] - batch["created_at"] == DAY_SECONDS
    assert {str(uuid.UUID(batch[name])) for name in ("id", "output_file_id", "error_file_id")}
    assert None not in batch.values()
    assert not batch.keys() & {"completed_at", "errors", "in_progress_at"}
    for name in ("output_file_id", "error_file_id"):
        assert caller.http.get(f"/files/{batch[name]}").json()["purpose"].startswith("batch_")


def test_the_first_look_at_a_batch_finds_it_in_validation(caller, monkeypatch):
    monkeypatch.setattr(scheduler, "_VALIDATION_SECONDS", 60)
    batch = caller.create(line("a"))
    caller.wait(caller.create(line("b"))["id"])  # what was looked at runs meanwhile
    first = caller.http.get(f"/batches/{batch['id']}").json()
    assert first["status"] == "validating"
    assert first["request_counts"] == {"total": 1, "completed": 0, "failed": 0}
    assert caller.wait(batch["id"])["status"] == "completed"


def test_a_batch_that_nobody_looks_at_runs_too(caller):
    batch = caller.create(line("a"))
    until(lambda: caller.lines(batch["output_file_id"]))


def test_a_batch_runs_through_its_statuses(caller, echo):
    batch = caller.create(line("hold-1"))
    running = caller.wait(batch["id"], "in_progress")
    assert running["in_progress_at"]
    assert "completed_at" not in running

    echo.gate.set()

    done = caller.wait(batch["id"])
    assert done["status"] == "completed"
    times = ("created_at", "in_progress_at", "finalizing_at", "completed_at")
    assert [done[name] for name in times] == sorted(done[name] for name in times)
    assert all(isinstance(done[name], int) for name in times)


def test_create_checks_window_endpoint_id_and_file_in_this_order(caller):
    wrong = {"completion_window": "2h", "endpoint": "/v1/x", "input_file_id": "file-1"}

    def create(**fields):
        return caller.http.post("/batches", json=wrong | fields)

    assert_plain(create(), 400, "Unsupported completion_window. Allowed values: 24h, 1h")
    wrong["completion_window"] = "24h"
    assert_plain(create(), 400, "endpoint")
    wrong["endpoint"] = "/v1/embeddings"
    assert_plain(create(), 400, "Invalid file ID format")
    assert_plain(create(input_file_id=UNKNOWN), 404, f"File with ID {UNKNOWN} not found")


def test_an_output_file_is_not_an_input_file(caller):
    batch = caller.create(line("a"))
    assert_plain(caller.post_batch(batch["output_file_id"]), 404)


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"{}", "headers": {"content-type": "application/problem+json"}}, 422),
        ({"json": {"endpoint": "/v1/embeddings"}}, 422),
        ({"json": {"metadata": {"a": 1}}}, 422),
        ({"content": b" " * 5_000_000, "headers": {"content-type": "application/json"}}, 413),
    ],
)
def test_a_body_that_does_not_fit_is_refused(caller, kwargs, status):
    assert_plain(caller.http.post("/batches", **kwargs), status)


def test_one_hour_is_a_window_too(caller):
    batch = caller.create(line("a"), completion_window="1h")
    assert batch["expires_at"] - batch["created_at"] == 3600


def test_metadata_gains_server_keys_and_loses_reserved_and_hidden_ones(caller):
    given = {"run": "x7", "Context-Name": "mine", "dw_user_agent": "u", "dw_source_id": "s"}

    batch = caller.create(line("a"), metadata=given)

    assert batch["metadata"]["run"] == "x7"
    assert set(batch["metadata"]) == {"run", "request_source", "created_by_email"}
    shown = caller.batch(batch["id"])["metadata"]
    assert shown["context_type"] == "personal"
    assert shown["context_name"] != "mine"


def test_cancel_is_immediate_idempotent_and_keeps_what_is_done(caller, echo):
    batch = caller.create(line("a"), *(line(f"hold-{n}") for n in range(20)))
    caller.wait_for_counts(batch["id"], completed=1)

    first = caller.http.post(f"/batches/{batch['id']}/cancel")

    assert first.status_code == 200
    assert first.json()["status"] == "cancelled"
    assert first.json()["cancelling_at"] == first.json()["cancelled_at"]
    assert caller.http.post(f"/batches/{batch['id']}/cancel").json() == first.json()
    until(lambda: echo.running == 0)
    answer = caller.content(batch["output_file_id"])
    assert answer.headers["x-incomplete"] == "false"
    assert len(answer.text.splitlines()) == 1
    echo.gate.set()
    other = caller.wait(caller.create(line("b"))["id"])
    assert other["status"] == "completed"
    assert caller.batch(batch["id"])["request_counts"]["completed"] == 1


def test_cancelling_a_finished_batch_is_not_refused(caller):
    batch = caller.wait(caller.create(line("a"))["id"])
    answer = caller.http.post(f"/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert len(caller.lines(batch["output_file_id"])) == 1


def test_retry_takes_a_cancellation_back(caller, echo):
    batch = caller.create(line("a"), line("hold-1"))
    caller.wait_for_counts(batch["id"], completed=1)
    caller.http.post(f"/batches/{batch['id']}/cancel")
    echo.gate.set()

    answer = caller.http.post(f"/batches/{batch['id']}/retry")

    assert answer.status_code == 200
    assert "cancelled_at" not in answer.json()
    done = caller.wait(batch["id"])
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert echo.calls["a"] == 1


def test_retry_runs_failed_requests_again_and_the_error_file_shrinks(caller, echo):
    batch = caller.wait(caller.create(line("a"), line("bad-1"))["id"])

    answer = caller.http.post(f"/batches/{batch['id']}/retry")

    assert answer.json()["request_counts"]["failed"] == 0
    assert "completed_at" not in answer.json()
    done = caller.wait(batch["id"])
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert (echo.calls["bad-1"], echo.calls["a"]) == (2, 1)
    assert len(caller.lines(batch["error_file_id"])) == 1
    assert len(caller.lines(batch["output_file_id"])) == 1


def test_retry_without_anything_to_retry_is_a_400(caller):
    batch = caller.wait(caller.create(line("a"))["id"])
    answer = caller.http.post(f"/batches/{batch['id']}/retry")
    assert_plain(answer, 400, "Nothing to retry:")


def test_single_requests_are_retried_by_their_bare_ids(caller, echo):
    batch = caller.wait(caller.create(line("bad-1"), line("bad-2"), line("a"))["id"])
    results = caller.http.get(f"/batches/{batch['id']}/results").text.splitlines()
    ids = {row["custom_id"]: row["id"] for row in map(json.loads, results)}
    url = f"/batches/{batch['id']}/retry-requests"

    assert_plain(
        caller.http.post(url, json={"request_ids": ["batch_req_x"]}),
        400,
        "No valid request IDs provided",
    )
    chosen = [ids["bad-1"], ids["a"], UNKNOWN, "nonsense"]
    assert caller.http.post(url, json={"request_ids": chosen}).status_code == 200

    caller.wait(batch["id"])
    assert [echo.calls[name] for name in ("bad-1", "bad-2", "a")] == [2, 1, 1]
    assert len(caller.lines(batch["error_file_id"])) == 2


def test_delete_answers_204_and_leaves_the_files(caller, echo):
    batch = caller.create(line("a"), line("hold-1"))
    caller.wait_for_counts(batch["id"], completed=1)

    answer = caller.http.delete(f"/batches/{batch['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert_plain(caller.http.get(f"/batches/{batch['id']}"), 404, batch["id"])
    assert_plain(caller.http.delete(f"/batches/{batch['id']}"), 404)
    assert caller.http.get("/batches").json()["data"] == []
    until(lambda: echo.running == 0)
    assert caller.http.get(f"/files/{batch['input_file_id']}").status_code == 200
    output = caller.content(batch["output_file_id"])
    assert len(output.text.splitlines()) == 1
    assert output.headers["x-incomplete"] == "false"
    assert "x-last-line" not in output.headers


def test_a_missed_deadline_shows_as_expired_at_and_not_as_a_status(start, echo):
    caller = start(echo, windows=("24h", "0m"))
    batch = caller.create(line("hold-1"), completion_window="0m")
    caller.create(line("b"))

    late = until(lambda: (b := caller.batch(batch["id"])).get("expired_at") and b)

    assert late["status"] == "in_progress"
    assert late["expired_at"] == late["expires_at"]
    found = caller.http.get("/batches", params={"status": "expired"}).json()["data"]
    assert [b["id"] for b in found] == [batch["id"]]
    echo.gate.set()
    assert caller.wait(batch["id"])["status"] == "completed"


def test_batches_are_listed_newest_first_and_filtered(caller):
    done = caller.wait(caller.create(line("a"), metadata={"nonce": "n_1"})["id"])
    failed = caller.wait(caller.create(line("bad-1"), completion_window="1h")["id"])
    running = caller.create(line("hold-1"))
    cancelled = caller.create(line("hold-2"))
    caller.http.post(f"/batches/{cancelled['id']}/cancel")

    def listed(**params):
        page = caller.http.get("/batches", params=params)
        assert page.status_code == 200, page.text
        return [batch["id"] for batch in page.json()["data"]]

    newest_first = [b["id"] for b in (cancelled, running, failed, done)]
    assert listed() == newest_first
    assert listed(status="completed") == [done["id"]]
    assert listed(status="failed") == [failed["id"]]
    assert listed(status="cancelled") == [cancelled["id"]]
    assert listed(status="in_progress") == [running["id"]]
    assert listed(status="expired") == []
    assert listed(search="n_1") == [done["id"]]
    assert listed(search="n%1") == []
    assert listed(search=failed["id"]) == [failed["id"]]
    assert listed(completion_window="1h,7d") == [failed["id"]]
    assert listed(created_after="2999-01-01T00:00:00Z") == []
    assert listed(created_after="2000-01-01 00:00:00") == newest_first
    assert listed(created_before="2999-01-01T00:00:00+00:00") == newest_first
    assert listed(active_first="true")[0] == running["id"]
    assert listed(limit=2, after=newest_first[1]) == newest_first[2:]
    pages = listed(active_first="true", limit=1)
    for _ in range(3):
        pages += listed(active_first="true", limit=1, after=pages[-1])
    assert sorted(pages) == sorted(newest_first)
    assert listed(after="nonsense") == newest_first
    for bad in ({"status": "lost"}, {"active_first": "maybe"}, {"created_after": "yesterday"}):
        assert_plain(caller.http.get("/batches", params=bad), 400)


def test_analytics_sum_the_usage_and_are_zero_before(caller, echo):
    batch = caller.create(line("hold-1"), line("hold-2"))
    url = f"/batches/{batch['id']}/analytics"
    assert caller.http.get(url).json()["total_requests"] == 0
    echo.gate.set()
    caller.wait(batch["id"])
    analytics = caller.http.get(url).json()
    assert analytics["total_requests"] == 2
    assert analytics["total_prompt_tokens"] == 6
    assert analytics["total_completion_tokens"] == 4
    assert analytics["total_tokens"] == 10
    assert analytics["total_cost"] == "0"
    assert analytics["avg_duration_ms"] > 0
    listed = caller.http.get("/batches", params={"include": "analytics"}).json()["data"][0]
    assert listed["analytics"] == analytics


def test_ids_are_uuids_and_unknown_ones_are_404(caller):
    for path in ("", "/results", "/analytics"):
        assert_plain(caller.http.get(f"/batches/batch_1{path}"), 400, "Invalid batch ID format")
        assert_plain(caller.http.get(f"/batches/{UNKNOWN}{path}"), 404, "Batch with ID")
    for path in ("cancel", "retry", "retry-requests"):
        assert_plain(caller.http.post(f"/batches/{UNKNOWN}/{path}"), 404, "Batch with ID")


def test_there_is_no_patch(caller):
    batch = caller.create(line("a"))
    assert caller.http.patch(f"/batches/{batch['id']}").status_code == 405
