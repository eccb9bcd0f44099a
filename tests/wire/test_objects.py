"""The calls' requests and the objects they return, with everything that real servers leave out."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import httpx
import pytest
import respx

from doubleword_batch import errors
from doubleword_batch.api import BatchClient
from doubleword_batch.variables import HOSTED_BASE_URL, OPENAI_BASE_URL
from wire.conftest import API

ID = "0191b5f2-0000-7000-8000-000000000001"
OTHER = "0191b5f2-0000-7000-8000-000000000002"
NOON = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)


def body_of(route: respx.Route) -> object:
    return json.loads(route.calls.last.request.content)


@respx.mock
async def test_create_sends_what_it_was_given(connect):
    route = respx.post(f"{API}/batches").respond(201, json={"id": ID, "status": "validating"})
    batch = await connect().batches.create(
        input_file_id=OTHER,
        endpoint="/v1/chat/completions",
        completion_window="1h",
        metadata={"nonce": "n-1"},
    )
    assert body_of(route) == {
        "input_file_id": OTHER,
        "endpoint": "/v1/chat/completions",
        "completion_window": "1h",
        "metadata": {"nonce": "n-1"},
    }
    assert (batch.id, batch.status, batch.is_terminal) == (ID, "validating", False)


@pytest.mark.parametrize("call", ["cancel", "retry"])
@respx.mock
async def test_actions_on_a_batch_are_posts_without_a_body(connect, call):
    route = respx.post(f"{API}/batches/{ID}/{call}")
    route.respond(200, json={"id": ID, "status": "cancelled"})
    assert (await getattr(connect().batches, call)(ID)).is_terminal
    assert route.calls.last.request.content == b""


@respx.mock
async def test_retry_requests_takes_the_ids_of_output_lines_too(connect):
    route = respx.post(f"{API}/batches/{ID}/retry-requests")
    route.respond(200, json={"id": ID, "status": "in_progress"})
    await connect().batches.retry_requests(ID, [OTHER, f"batch_req_{ID}"])
    assert body_of(route) == {"request_ids": [OTHER, ID]}


@pytest.mark.parametrize("created_at", [NOON.timestamp(), "1793707200", "2026-11-03T12:00:00Z"])
@respx.mock
async def test_times_are_epoch_or_iso(connect, created_at):
    file = {"id": ID, "created_at": created_at}
    respx.get(f"{API}/files/{ID}").respond(200, json=file)
    assert (await connect().files.get(ID)).created_at == NOON


@pytest.mark.parametrize("created_at", ["²", "1.²", "soon", -1e30, [1]])
@respx.mock
async def test_a_time_that_cannot_be_read_costs_nobody_the_file(connect, created_at):
    respx.get(f"{API}/files/{ID}").respond(
        200, text=json.dumps({"id": ID, "created_at": created_at})
    )
    assert (await connect().files.get(ID)).created_at is None


@respx.mock
async def test_a_file_needs_no_more_than_its_id(connect):
    respx.get(f"{API}/files/{ID}").respond(200, json={"id": ID, "unheard_of": {"x": [1]}})
    file = await connect().files.get(ID)
    assert (file.id, file.size_bytes, file.filename, file.expires_at) == (ID, 0, "", None)


@respx.mock
async def test_metadata_that_is_none_costs_nobody_the_batch(connect):
    batch = {"id": ID, "status": "completed", "metadata": "some words"}
    respx.get(f"{API}/batches/{ID}").respond(200, json=batch)
    assert (await connect().batches.get(ID)).metadata == {}


@pytest.mark.parametrize("reply", [5, "some words", True, {"data": "some words"}])
@pytest.mark.parametrize("kind", ["models", "batches", "files"])
@respx.mock
async def test_a_reply_that_is_no_list_is_called_unexpected(connect, kind, reply):
    respx.get(f"{API}/{kind}").respond(200, json=reply)
    listed = getattr(connect(), kind).list()
    with pytest.raises(errors.ProtocolError) as caught:
        await (listed if kind == "models" else anext(listed))
    assert caught.value.code == "unexpected_reply"


@respx.mock
async def test_a_batch_with_nulls_blanks_and_unknown_fields_is_read(connect):
    batch = {
        "id": ID,
        "status": "COMPLETED",
        "output_file_id": None,
        "error_file_id": "",
        "request_counts": None,
        "metadata": None,
        "errors": {"object": "list", "data": [{"code": "x", "message": "m", "line": 3}]},
        "expired_at": 0,
        "usage": {"input_tokens": 1},
    }
    respx.get(f"{API}/batches/{ID}").respond(200, json=batch)
    read = await connect().batches.get(ID)
    assert (read.status, read.is_terminal) == ("completed", True)
    assert (read.output_file_id, read.error_file_id, read.expired_at) == (None, None, None)
    assert (read.request_counts.total, read.metadata) == (0, {})
    assert read.errors
    assert read.errors.data[0].line == 3


@pytest.mark.parametrize("counts", [[], "3", {"total": "?", "completed": None, "failed": {}}])
@respx.mock
async def test_counts_and_times_that_cannot_be_read_cost_nobody_the_batch(connect, counts):
    batch = {"id": ID, "status": "completed", "request_counts": counts, "created_at": {"s": 1}}
    respx.get(f"{API}/batches/{ID}").respond(200, json=batch)
    read = await connect().batches.get(ID)
    assert (read.status, read.created_at) == ("completed", None)
    assert read.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}


@respx.mock
async def test_counts_as_text_are_counts(connect):
    counts = {"total": "40", "completed": 39.0, "failed": "NaN"}
    respx.get(f"{API}/batches/{ID}").respond(200, json={"id": ID, "request_counts": counts})
    read = (await connect().batches.get(ID)).request_counts
    assert (read.total, read.completed, read.failed) == (40, 39, 0)


@respx.mock
async def test_a_list_that_is_null_is_empty_and_one_that_is_not_there_is_no_list(connect):
    route = respx.get(f"{API}/batches")
    route.respond(200, json={"object": "list", "data": None, "has_more": False})
    assert [batch async for batch in connect().batches.list()] == []
    route.respond(200, json={"ok": True})
    with pytest.raises(errors.ProtocolError):
        _ = [batch async for batch in connect().batches.list()]


@respx.mock
async def test_a_reply_with_a_byte_order_mark_is_read(connect):
    respx.get(f"{API}/batches/{ID}").respond(200, content=b'\xef\xbb\xbf{"id": "b"}')
    assert (await connect().batches.get(ID)).id == ID


@respx.mock
async def test_an_unknown_status_is_shown_and_is_not_terminal(connect):
    respx.get(f"{API}/batches/{ID}").respond(200, json={"id": ID, "status": "napping"})
    batch = await connect().batches.get(ID)
    assert (batch.status, batch.is_terminal) == ("napping", False)


@pytest.mark.parametrize(
    ("spelt", "status"),
    [
        ("SUCCEEDED", "completed"),
        ("JOB_STATE_CANCELLED", "cancelled"),
        ("CANCELLATION_REQUESTED", "cancelling"),
        ("PartiallyCompleted", "completed"),
        ("TIMEOUT_EXCEEDED", "expired"),
        ("Error", "failed"),
        ("in-queue", "in_queue"),
    ],
)
@respx.mock
async def test_a_status_is_known_however_it_is_spelt(connect, spelt, status):
    respx.get(f"{API}/batches/{ID}").respond(200, json={"id": ID, "status": spelt})
    assert (await connect().batches.get(ID)).status == status


@respx.mock
async def test_ids_are_read_as_numbers_in_objects_and_in_lists_of_one(connect):
    batch = {"id": 7, "output_file_id": ["out"], "error_file_id": {"id": 8}, "input_file_id": False}
    respx.post(f"{API}/batches/{ID}/cancel").respond(200, json=batch)
    read = await connect().batches.cancel(ID)
    assert (read.id, read.output_file_id, read.error_file_id) == ("7", "out", "8")
    assert read.input_file_id is None


@respx.mock
async def test_one_odd_entry_does_not_cost_the_list(connect):
    route = respx.get(f"{API}/batches")
    for listed in ([{"id": "a"}, None, {"status": "x"}, {"id": 7}], [{"id": "a"}, {"id": 7}]):
        for page in (listed, {"data": listed, "has_more": "no"}):
            route.respond(200, json=page)
            assert [batch.id async for batch in connect().batches.list()] == ["a", "7"]
    for no_list in ([{"error": {"message": "no"}}], [None], {"data": [{"error": "no"}]}):
        route.respond(200, json=no_list)
        with pytest.raises(errors.ProtocolError):
            _ = [batch async for batch in connect().batches.list()]


@respx.mock
async def test_what_no_agent_could_name_is_left_out_of_a_list(connect):
    listed = {"data": [{"id": "x" * 513}, {"id": "y" * 512}, {"id": "b1"}]}
    respx.get(f"{API}/batches").respond(json=listed)
    respx.get(f"{API}/models").respond(json=listed)
    assert [len(batch.id) async for batch in connect().batches.list()] == [512, 2]
    assert [len(model.id) for model in await connect().models.list()] == [512, 2]


@respx.mock
async def test_a_cost_estimate_is_exact_money(connect):
    estimate = {"file_id": ID, "total_requests": 3, "total_estimated_cost": "0.000000123"}
    route = respx.get(f"{API}/files/{ID}/cost-estimate", params={"completion_window": "1h"})
    route.respond(200, json=estimate)
    read = await connect().files.estimate_cost(ID, "1h")
    assert read.total_estimated_cost == Decimal("0.000000123")


@pytest.mark.parametrize("status", [200, 204])
@respx.mock
async def test_delete_needs_no_body_in_the_reply(connect, status):
    route = respx.delete(f"{API}/files/{ID}").respond(status)
    await connect().files.delete(ID)
    assert route.call_count == 1


@pytest.mark.parametrize(
    "bad",
    ["", ".", "..", "a/b", "../batches", "a?x=1", "a%2fb", "a b", "ab\n", "\u00fc", "x" * 513],
)
@respx.mock
async def test_an_id_that_cannot_be_one_is_rejected_before_anything_is_sent(connect, bad):
    client = connect()
    for call in (
        client.files.get(bad),
        client.files.delete(bad),
        client.files.content(bad, lambda _: None),
        client.files.estimate_cost(bad, "24h"),
        client.batches.get(bad),
        client.batches.cancel(bad),
        client.batches.retry(bad),
        client.batches.results(bad, lambda _: None),
        client.batches.create(
            input_file_id=bad, endpoint="/v1/embeddings", completion_window="24h"
        ),
        client.batches.retry_requests(ID, [ID, bad]),
    ):
        with pytest.raises(errors.InputError) as caught:
            await call
        assert caught.value.code == "invalid_argument"
    assert not respx.calls


@pytest.mark.parametrize("good", ["file-abc123", "batch_67f7", "a:b.c", "x" * 512])
@respx.mock
async def test_ids_of_other_servers_are_taken_as_they_are(connect, good):
    respx.get(f"{API}/files/{good}").respond(200, json={"id": good})
    assert (await connect().files.get(good)).id == good


@pytest.mark.parametrize(
    "metadata", [{f"k{n}": "" for n in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}]
)
@respx.mock
async def test_metadata_that_not_every_server_takes_is_rejected_here(connect, metadata):
    with pytest.raises(errors.InputError) as caught:
        await connect().batches.create(
            input_file_id=ID,
            endpoint="/v1/embeddings",
            completion_window="24h",
            metadata=metadata,
        )
    assert caught.value.code == "invalid_argument"
    assert "at most 16 pairs" in caught.value.hint


async def test_the_profile_follows_the_known_addresses():
    named = {
        HOSTED_BASE_URL + "/": "doubleword",
        OPENAI_BASE_URL: "openai",
        "https://gateway.example.test/v1": "generic",
    }
    for url, name in named.items():
        async with BatchClient(base_url=url) as client:
            assert client.profile.name == name
            assert client.base_url == url.rstrip("/")


@respx.mock
async def test_a_list_is_paged_by_its_last_id(connect):
    def page(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("after", "0"))
        data = [{"id": str(n), "status": "completed"} for n in range(start + 1, start + 3)]
        return httpx.Response(200, json={"data": data, "has_more": start < 4})

    route = respx.get(f"{API}/batches").mock(side_effect=page)
    found = [batch.id async for batch in connect().batches.list(page_size=2)]
    assert found == ["1", "2", "3", "4", "5", "6"]
    assert dict(route.calls[1].request.url.params) == {"limit": "2", "after": "2"}


@pytest.mark.parametrize(
    "pages",
    [
        [["a", "b"], ["a", "b"], ["a", "b"]],
        [["a", "b"], ["c", "b"], ["d", "b"]],
        [["a", "b"], []],
        [["a", "b"], ["b"], ["b"]],
    ],
    ids=["page one again", "a cursor again", "more promised, none sent", "overlap"],
)
@respx.mock
async def test_a_list_ends_whatever_has_more_says(connect, pages):
    replies = [{"data": [{"id": i} for i in page], "has_more": True} for page in pages]
    route = respx.get(f"{API}/files")
    route.side_effect = [httpx.Response(200, json=reply) for reply in replies]
    found = [file.id async for file in connect().files.list()]
    assert found == list(dict.fromkeys(pages[0] + pages[1]))
    assert route.call_count == 2


@pytest.mark.parametrize(("asked", "sent"), [(0, "1"), (-5, "1"), (20, "20"), (500, "100")])
@respx.mock
async def test_the_page_size_stays_within_what_servers_take(connect, asked, sent):
    route = respx.get(f"{API}/files").respond(200, json={"data": []})
    assert [file async for file in connect().files.list(page_size=asked)] == []
    assert dict(route.calls.last.request.url.params) == {"limit": sent}


@respx.mock
async def test_filters_are_sent_to_a_server_that_has_them(connect):
    route = respx.get(f"{API}/batches").respond(200, json={"data": []})
    local = datetime(2026, 11, 3, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    batches = connect().batches.list(
        search="n-1",
        status="failed",
        created_after=local,
        created_before=NOON.replace(tzinfo=None),
        completion_window="1h",
    )
    assert [batch async for batch in batches] == []
    assert dict(route.calls.last.request.url.params) == {
        "search": "n-1",
        "status": "failed",
        "created_after": "2026-11-03T12:00:00+00:00",
        "created_before": "2026-11-03T12:00:00+00:00",
        "completion_window": "1h",
        "limit": "100",
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"search": "NONCE-1"}, ["a"]),
        ({"status": "failed"}, ["b"]),
        ({"created_after": NOON}, ["b", "c"]),
        ({"created_before": NOON}, ["a", "c"]),
        ({"completion_window": "1h"}, ["b"]),
        ({}, ["a", "b", "c"]),
    ],
)
@respx.mock
async def test_filters_work_here_for_a_server_without_them(connect, asked, found):
    early, late = NOON.timestamp() - 60, NOON.timestamp() + 60
    data = [
        {"id": "a", "status": "completed", "created_at": early, "metadata": {"k": "x-nonce-1"}},
        {"id": "b", "status": "failed", "created_at": late, "completion_window": "1h"},
        {"id": "c", "status": "completed"},
    ]
    route = respx.get(f"{API}/batches").respond(200, json={"data": data})
    batches = connect(like="openai").batches.list(**asked)
    assert [batch.id async for batch in batches] == found
    assert dict(route.calls.last.request.url.params) == {"limit": "100"}


@pytest.mark.parametrize(("like", "sent"), [("doubleword", True), ("openai", False)])
@respx.mock
async def test_a_search_for_a_file_name_finds_the_same_on_both_kinds_of_server(connect, like, sent):
    data = [{"id": "a", "filename": "Reviews-1.jsonl"}]
    if not sent:
        data.append({"id": "b", "filename": "other.jsonl"})
    route = respx.get(f"{API}/files").respond(200, json={"data": data})
    found = [file.id async for file in connect(like=like).files.list(search="reviews")]
    assert found == ["a"]
    assert ("search" in route.calls.last.request.url.params) is sent


async def test_a_closed_client_can_be_closed_again(connect):
    client = connect()
    await client.close()
    await client.close()
