"""POST/GET/DELETE /v1/files, as the real server has them."""

import json
import time

import httpx
import pytest

from contract.stand_in import Echo, assert_plain, jsonl, line, until

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MONTH_SECONDS = 30 * 24 * 3600


def test_upload_answers_201_with_a_bare_uuid_and_no_null(caller):
    content = jsonl([line("a"), line("b")])

    answer = caller.post_file(content, filename="reviews.jsonl")

    file = answer.json()
    assert answer.status_code == 201
    assert len(file["id"]) == 36
    assert file["object"] == "file"
    assert file["bytes"] == len(content)
    assert file["filename"] == "reviews.jsonl"
    assert file["purpose"] == "batch"
    assert file["expires_at"] - file["created_at"] == MONTH_SECONDS
    assert None not in file.values()
    assert file["status"] == "processed"


def test_upload_takes_an_expiry_and_an_expired_file_is_gone(caller):
    answer = caller.post_file(
        jsonl([line("a")]),
        **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )
    assert answer.json()["expires_at"] - answer.json()["created_at"] == 3600

    gone = caller.post_file(jsonl([line("a")]), **{"expires_after[seconds]": "0"}).json()

    assert_plain(caller.http.get(f"/files/{gone['id']}"), 404)
    assert gone["id"] not in caller.http.get("/files").text


BAD_LINES = {
    "broken JSON": (b"{nope\n", 400, "Invalid JSON on line 2"),
    "no custom_id": (b'{"method":"POST","url":"/v1/chat/completions","body":{}}\n', 400, "line 2"),
    "custom_id of 65": (line("x" * 65), 400, "Line 2"),
    "custom_id with a line feed": (line("a\nb"), 400, "Line 2"),
    "GET": (line("a", method="GET"), 400, "Line 2"),
    "unknown url": (line("a", url="/v1/moderations"), 400, "Line 2"),
    "no model": (line("a", body={"messages": []}), 400, "Line 2"),
    "model is not a string": (line("a", body={"model": 3}), 400, "Line 2"),
    "body is not an object": (line("a", body=[1]), 400, "Line 2"),
    "not UTF-8": (b'{"custom_id":"a\xff"}\n', 400, "Invalid UTF-8 on line 2 at byte offset 15"),
    "NaN": (b'{"custom_id":"a","method":"POST","url":"/v1/x","body":NaN}\n', 400, "line 2"),
    "a number beyond every float, beside a priority": (
        (
            b'{"custom_id":"a","method":"POST","url":"/v1/completions",'
            b'"body":{"model":"chat-1","priority":1,"seed":1e999}}\n'
        ),
        400,
        "Line 2",
    ),
    "embedding model in chat": (line("a", model="embed-1"), 400, "Line 2"),
    "chat model in embeddings": (line("a", url="/v1/embeddings"), 400, "Line 2"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_the_first_bad_line_is_named_in_plain_text_and_nothing_is_stored(caller, name):
    bad, status, part = BAD_LINES[name]

    answer = caller.post_file(jsonl([line("ok"), b"\n", bad, b"{also bad\n"]))

    assert_plain(answer, status, part)
    assert caller.http.get("/files").json() == {"object": "list", "data": [], "has_more": False}


def test_a_model_that_is_not_there_is_forbidden_at_upload(start):
    caller = start(Echo(any_model=False))

    answer = caller.post_file(jsonl([line("a", model="gpt-9")]))

    assert_plain(answer, 403, "Line 1: Model", "has not been configured or is not available")


def test_a_duplicate_custom_id_is_accepted(caller):
    assert caller.upload(line("same"), line("same"))["id"]


def test_a_custom_id_of_64_and_a_lower_case_method_are_accepted(caller):
    assert caller.upload(line("x" * 64, method="post"))["id"]


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_file_is_refused(caller, content):
    assert_plain(caller.post_file(content), 400, "File contains no valid request templates")


def test_the_purpose_has_to_be_batch_in_any_case(caller):
    assert caller.post_file(jsonl([line("a")]), purpose="BATCH").status_code == 201
    answer = caller.post_file(jsonl([line("a")]), purpose="fine-tune")
    assert_plain(answer, 400, "Invalid purpose 'fine-tune'. Only 'batch' is supported.")


def test_a_form_without_a_file_is_refused(caller):
    empty = {"other": ("a", b"x")}
    answer = caller.http.post("/files", data={"purpose": "batch"}, files=empty)
    assert_plain(answer, 400, "file")
    assert_plain(caller.http.post("/files", content=b"x"), 400, "multipart")


def test_too_many_requests_are_counted(start):
    caller = start(max_requests=2)
    answer = caller.post_file(jsonl([line("a")] * 5))
    assert_plain(answer, 400, "File contains 5 requests, which exceeds the maximum of 2")


def test_requests_beyond_the_most_are_counted_however_long_they_may_be(start):
    caller = start(max_requests=2, max_request_bytes=1000)
    long = line("d", body={"model": "chat-1", "x": "y" * 950})
    answer = caller.post_file(jsonl([line("a"), line("b"), line("c"), long]))
    assert_plain(answer, 400, "File contains 4 requests, which exceeds the maximum of 2")


def test_a_line_that_is_too_long_has_the_number_that_other_errors_give_it(start):
    caller = start(max_request_bytes=1000)
    answer = caller.post_file(jsonl([line("a")]) + b"\n\n" + b"x" * 500_000)
    assert_plain(answer, 400, "Line 2: longer than")


def test_a_body_that_is_too_large_is_refused(start):
    caller = start(max_request_bytes=1000)
    answer = caller.post_file(
        jsonl([line("a" * 10), line("b", body={"model": "m", "x": "y" * 999})])
    )
    assert_plain(answer, 400, "Line 2")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(start):
    caller = start(max_request_bytes=1000)
    assert_plain(caller.post_file(b"x" * 500_000), 400, "Line 1: longer than")


def test_a_file_that_is_too_large_is_refused_when_announced_and_while_it_streams(start):
    caller = start(max_file_bytes=50_000)
    content = jsonl([line(f"r{n}") for n in range(2000)])
    assert_plain(caller.post_file(content), 413, "50000 bytes")

    def stream():
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for begin in range(0, len(content), 8192):
            yield content[begin : begin + 8192]

    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = caller.http.post("/files", content=stream(), headers=headers)
    assert_plain(answer, 413, "50000 bytes")


def test_input_content_is_written_anew_without_priority(caller):
    row = line("ü".encode().hex(), body={"model": "chat-1", "priority": 9, "text": "grüß\u2028e"})
    file = caller.upload(
        row | {"extra": 1},
        b'\n{"custom_id" : "b", "method":"post",'
        b'"url":"/v1/completions","body":{ "model" : "m" } }\n',
    )

    answer = caller.content(file["id"])

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers["x-incomplete"] == "false"
    assert "x-last-line" not in answer.headers
    first, second = answer.content.splitlines()
    del row["body"]["priority"]
    assert json.loads(first) == row
    assert second == (
        b'{"custom_id":"b","method":"POST","url":"/v1/completions","body":{"model":"m"}}'
    )


def test_input_content_in_pages_tells_the_next_skip(caller):
    file = caller.upload(*(line(f"r{n}") for n in range(5)))

    page = caller.content(file["id"], skip=1, limit=2)

    assert [json.loads(row)["custom_id"] for row in page.text.splitlines()] == ["r1", "r2"]
    assert page.headers["x-last-line"] == "3"
    assert page.headers["x-incomplete"] == "true"
    last = caller.content(file["id"], skip=3, limit=2)
    assert (last.headers["x-last-line"], last.headers["x-incomplete"]) == ("5", "false")


def test_search_finds_a_part_of_the_custom_id_and_takes_no_wildcards(caller):
    file = caller.upload(line("a_1"), line("ab1"), line("100%"))
    assert [row["custom_id"] for row in caller.lines(file["id"], search="_")] == ["a_1"]
    assert [row["custom_id"] for row in caller.lines(file["id"], search="%")] == ["100%"]
    assert caller.lines(file["id"], search="' OR 1=1 --") == []


def test_files_are_listed_newest_first_in_pages(caller):
    ids = [caller.upload(line("a"))["id"] for _ in range(3)]

    page = caller.http.get("/files", params={"limit": 2}).json()

    assert [file["id"] for file in page["data"]] == [ids[2], ids[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    rest = caller.http.get("/files", params={"limit": 2, "after": ids[1]}).json()
    assert [file["id"] for file in rest["data"]] == [ids[0]]
    assert rest["has_more"] is False
    oldest = caller.http.get("/files", params={"order": "asc", "after": ids[0]}).json()
    assert [file["id"] for file in oldest["data"]] == ids[1:]


def test_a_list_clamps_its_limit_and_ignores_an_after_it_does_not_know(caller):
    caller.upload(line("a"))
    for after in ("file-abc", UNKNOWN):
        assert len(caller.http.get("/files", params={"after": after}).json()["data"]) == 1
    many = [caller.post_file(jsonl([line("a")])).json()["id"] for _ in range(102)]
    assert len(caller.http.get("/files", params={"limit": 5000}).json()["data"]) == 101
    for least in (0, -1, -(10**17)):
        assert len(caller.http.get("/files", params={"limit": least}).json()["data"]) == 1
    assert len(caller.http.get("/files").json()["data"]) == 20
    assert many[-1] == caller.http.get("/files").json()["first_id"]


def test_a_list_searches_names_and_purposes(caller):
    caller.post_file(jsonl([line("a")]), filename="Reviews_1.jsonl")
    caller.post_file(jsonl([line("a")]), filename="other.jsonl")
    found = caller.http.get("/files", params={"search": "reviews_"}).json()["data"]
    assert [file["filename"] for file in found] == ["Reviews_1.jsonl"]
    assert caller.http.get("/files", params={"purpose": "batch_output"}).json()["data"] == []


@pytest.mark.parametrize("params", [{"limit": "x"}, {"limit": "1.5"}, {"order": "up"}])
def test_a_query_value_that_does_not_parse_is_a_400(caller, params):
    assert_plain(caller.http.get("/files", params=params), 400)


def test_ids_are_uuids_and_unknown_ones_are_404(caller):
    assert_plain(caller.http.get("/files/file-abc"), 400, "Invalid file ID format")
    assert_plain(caller.http.get(f"/files/{UNKNOWN}"), 404, f"File with ID {UNKNOWN} not found")
    assert_plain(caller.http.get(f"/files/{UNKNOWN}/content"), 404)
    assert_plain(caller.http.delete(f"/files/{UNKNOWN}"), 404)


def test_a_finished_batch_outlives_its_input_file(caller):
    file = caller.upload(line("a"), line("bad-1"))
    batch = caller.wait(caller.post_batch(file["id"]).json()["id"])

    answer = caller.http.delete(f"/files/{file['id']}")

    assert answer.status_code == 200
    assert answer.json() == {"id": file["id"], "object": "file", "deleted": True}
    for path in (f"/files/{file['id']}", f"/files/{file['id']}/content"):
        assert_plain(caller.http.get(path), 404)
    assert caller.http.get("/files", params={"purpose": "batch"}).json()["data"] == []
    left = caller.http.get(f"/batches/{batch['id']}").json()
    assert left == batch | {"input_file_id": ""}
    assert [row["custom_id"] for row in caller.lines(batch["output_file_id"])] == ["a"]
    assert [row["custom_id"] for row in caller.lines(batch["error_file_id"])] == ["bad-1"]
    assert_plain(caller.http.post(f"/batches/{batch['id']}/retry"), 400, "input file")
    assert_plain(caller.post_batch(file["id"]), 404, "File with ID")
    with pytest.raises(httpx.RemoteProtocolError):  # 200, then the connection breaks
        caller.http.get(f"/batches/{batch['id']}/results")


def test_deleting_an_input_file_cancels_what_still_runs(caller, echo):
    batch = caller.create(line("a"), line("hold-1"))
    caller.wait_for_counts(batch["id"], completed=1, failed=0)
    caller.http.delete(f"/files/{batch['input_file_id']}")
    until(lambda: echo.running == 0)
    left = caller.http.get(f"/batches/{batch['id']}").json()
    assert left["status"] == "cancelled"
    assert left["request_counts"] == {"total": 2, "completed": 1, "failed": 0}
    assert [row["custom_id"] for row in caller.lines(batch["output_file_id"])] == ["a"]


def test_deleting_an_output_file_leaves_the_results(caller):
    batch = caller.wait(caller.create(line("a"), line("b"))["id"])
    caller.http.delete(f"/files/{batch['output_file_id']}")
    assert_plain(caller.content(batch["output_file_id"]), 404)
    rows = caller.http.get(f"/batches/{batch['id']}/results").text.splitlines()
    assert [json.loads(row)["status"] for row in rows] == ["completed", "completed"]


def test_what_nobody_can_read_any_more_is_erased(caller, tmp_path):
    ids = [f"secret-{n:04}-{name}" for name in ("gone", "kept") for n in range(200)]
    gone = caller.create(*map(line, ids[:200]))
    kept = caller.create(*map(line, ids[200:]))
    caller.wait(gone["id"])
    caller.wait(kept["id"])
    for batch, names in ((gone, ("input", "output", "error")), (kept, ("output", "error"))):
        for name in names:
            answer = caller.http.delete(f"/files/{batch[f'{name}_file_id']}")
            assert answer.status_code == 200
    shown = caller.batch(gone["id"])
    assert shown["status"] == "completed"
    assert shown["request_counts"] == {"total": 200, "completed": 200, "failed": 0}
    assert len(caller.http.get(f"/batches/{kept['id']}/results").text.splitlines()) == 200
    caller.server.stop()
    stored = (tmp_path / "local" / "server.sqlite3").read_bytes()
    assert b"-gone" not in stored
    assert b"-kept" in stored


def test_the_answers_outlive_file_and_batch(caller):
    batch = caller.wait(caller.create(line("a"))["id"])
    caller.http.delete(f"/files/{batch['input_file_id']}")
    caller.http.delete(f"/batches/{batch['id']}")
    assert caller.content(batch["output_file_id"]).status_code == 200


@pytest.mark.parametrize("custom_id", ["é", "日本", ""])
def test_a_custom_id_may_be_empty_or_not_ascii(caller, custom_id):
    batch = caller.wait(caller.create(line(custom_id))["id"])
    assert [row["custom_id"] for row in caller.lines(batch["output_file_id"])] == [custom_id]


def test_what_a_form_may_leave_out_or_get_wrong(caller):
    """The purpose; and an expiry that is not a number is ignored."""
    answer = caller.http.post(
        "/files",
        data={"expires_after[seconds]": "soon"},
        files={"file": ("a", jsonl([line("a")]))},
    )
    assert answer.status_code == 201
    assert answer.json()["purpose"] == "batch"
    assert answer.json()["status"] == "processed"
    assert answer.json()["expires_at"] - answer.json()["created_at"] == 30 * 24 * 3600


def test_skip_holds_once_in_a_file_of_several_pages(caller):
    file = caller.upload(*(line(f"row-{n}") for n in range(2_500)))
    rest = [f"row-{n}" for n in range(100, 2_500)]
    assert [row["custom_id"] for row in caller.lines(file["id"], skip=100)] == rest


def test_skip_below_zero_is_zero(caller):
    file = caller.upload(line("a"), line("b"))
    assert len(caller.lines(file["id"], skip=-5)) == 2
    assert len(caller.lines(file["id"], skip=-5, limit=-1)) == 1
    assert caller.content(file["id"], skip=-5, limit=1).headers["x-last-line"] == "1"


def test_only_named_models_are_taken(start):
    caller = start(Echo(any_model=True), models=("mine", "other"))
    assert caller.post_file(jsonl([line("a", model="mine")])).status_code == 201
    assert_plain(caller.post_file(jsonl([line("a", model="chat-1")])), 403, "Line 1: Model")
    assert [model["id"] for model in caller.http.get("/models").json()["data"]] == ["mine", "other"]


def test_an_upload_that_breaks_off_leaves_nothing(caller):
    def stream():
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield jsonl([line("a")])
        raise InterruptedError

    headers = {"content-type": "multipart/form-data; boundary=B"}
    with pytest.raises(InterruptedError):
        caller.http.post("/files", content=stream(), headers=headers)
    assert caller.http.get("/files").json()["data"] == []
    assert abs(caller.upload(line("b"))["created_at"] - time.time()) < 10
