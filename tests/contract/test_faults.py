"""The faults that the server shows on purpose."""

import json

import httpx
import pytest

from contract.stand_in import jsonl, line
from doubleword_batch.errors import InputError
from doubleword_batch.local.executors.faults import Faults, Match, RequestFault, ServerFault

CONTENT = "GET /v1/files/{id}/content"
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def faulty(start):
    def start_faulty(fault, route="*", **fields):
        return start(faults=Faults(server=(ServerFault(fault=fault, route=route, **fields),)))

    return start_faulty


def finished(caller):
    return caller.wait(caller.create(*map(line, NAMES))["id"])


def custom_ids(answer):
    return [json.loads(row)["custom_id"] for row in answer.text.splitlines()]


def test_a_status_with_body_and_headers_meets_its_route_only_so_often(faulty):
    caller = faulty(
        "status", "POST /v1/files", status=429, body='{"error":"x"}', times=2, after=1,
        content_type="application/json", headers={"Retry-After": "7"},
    )  # fmt: skip
    statuses = [caller.post_file(jsonl([line("a")])).status_code for _ in range(4)]
    assert statuses == [201, 429, 429, 201]
    assert len(caller.http.get("/files").json()["data"]) == 2


def test_a_status_may_be_a_proxy_s_html_page(faulty):
    page = "<html><body>Bad gateway</body></html>"
    caller = faulty("status", "GET /v1/batches/{id}", status=502, body=page,
                    content_type="text/html", headers={"Retry-After": "3"})  # fmt: skip
    batch = caller.create(line("a"))
    answer = caller.http.get(f"/batches/{batch['id']}")
    assert (answer.status_code, answer.text) == (502, page)
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["retry-after"] == "3"
    assert caller.http.get(f"/batches/{batch['id']}").status_code == 200


def test_capacity_is_a_json_429_whose_header_and_body_disagree(faulty):
    caller = faulty("capacity", "POST /v1/batches")
    file = caller.upload(line("a"))
    answer = caller.post_batch(file["id"])
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert answer.json()["error"] == "too_many_requests"
    assert answer.json()["retry_after_seconds"] == 30
    assert caller.post_batch(file["id"]).status_code == 201


def test_drop_before_hangs_up_and_nothing_happened(faulty):
    caller = faulty("drop_before", "POST /v1/batches")
    file = caller.upload(line("a"))
    with pytest.raises(httpx.TransportError):
        caller.post_batch(file["id"])
    assert caller.http.get("/batches").json()["data"] == []


def test_drop_after_hangs_up_and_it_did_happen(faulty):
    caller = faulty("drop_after", "POST /v1/batches")
    file = caller.upload(line("a"))
    with pytest.raises(httpx.TransportError):
        caller.post_batch(file["id"], metadata={"nonce": "n-1"})
    found = caller.http.get("/batches", params={"search": "n-1"}).json()["data"]
    assert len(found) == 1


def received_before_the_break(answer):
    received = b""
    try:
        for part in answer.iter_raw():
            received += part
    except httpx.RemoteProtocolError:
        return received
    pytest.fail("the stream came to its proper end")


def test_cut_breaks_the_stream_after_so_many_bytes(faulty):
    caller = faulty("cut", CONTENT, bytes=100)
    batch = finished(caller)
    with caller.http.stream("GET", f"/files/{batch['output_file_id']}/content") as answer:
        assert len(received_before_the_break(answer)) == 100
    assert len(caller.lines(batch["output_file_id"])) == 4


def test_late_lines_are_counted_and_not_there(faulty):
    caller = faulty("late_lines", CONTENT, lines=2, times=1)
    batch = finished(caller)
    first = caller.content(batch["output_file_id"])
    assert (len(custom_ids(first)), first.headers["x-last-line"]) == (2, "4")
    assert len(custom_ids(caller.content(batch["output_file_id"]))) == 4


def test_duplicate_lines_come_twice_and_at_the_resume_boundary(faulty):
    caller = faulty("duplicate_lines", CONTENT, every=2, times=None)
    output = finished(caller)["output_file_id"]
    whole = custom_ids(caller.content(output))
    assert whole == [whole[0], whole[1], whole[1], whole[3], whole[4], whole[4]]
    assert set(whole) == set(NAMES)
    resumed = custom_ids(caller.content(output, skip=2))
    assert resumed[0] == whole[1]
    assert set(resumed) == {whole[1], whole[3], whole[4]}


def test_duplicates_and_late_lines_work_on_pages_too(faulty):
    caller = faulty("duplicate_lines", CONTENT, every=1)
    output = finished(caller)["output_file_id"]
    assert len(custom_ids(caller.content(output, limit=3))) == 6


def test_no_skip_reads_from_the_start(faulty):
    caller = faulty("no_skip", CONTENT)
    output = finished(caller)["output_file_id"]
    assert len(custom_ids(caller.content(output, skip=3))) == 4
    assert len(custom_ids(caller.content(output, skip=3))) == 1


def test_a_garbage_line_stands_among_the_others(faulty):
    caller = faulty("garbage_line", CONTENT)
    output = finished(caller)["output_file_id"]
    rows = caller.content(output).text.splitlines()
    assert len(rows) == 5
    assert sum(row.startswith("{") for row in rows) == 4


def test_expire_puts_the_deadline_into_the_past(faulty):
    caller = faulty("expire", "POST /v1/batches")
    batch = caller.wait(caller.create(line("a"))["id"])
    assert batch["status"] == "completed"
    assert batch["expired_at"] == batch["expires_at"] < batch["created_at"]
    assert "expired_at" not in finished(caller)


def test_a_faults_file_is_read_and_a_wrong_one_is_explained(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(
        '{"server": [{"fault": "cut", "route": "GET /v1/files/{id}/content", "bytes": 9}],'
        ' "requests": [{"fault": "hold", "match": {"custom_id": "a"}, "until": "/x"}]}',
        "utf-8",
    )
    assert Faults.load(path) == Faults(
        server=(ServerFault(fault="cut", route=CONTENT, bytes=9),),
        requests=(RequestFault(fault="hold", match=Match(custom_id="a"), until="/x"),),
    )
    path.write_text('{"server": [{"fault": "boom"}]}', "utf-8")
    with pytest.raises(InputError, match="boom"):
        Faults.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        Faults.load(tmp_path / "none.json")
