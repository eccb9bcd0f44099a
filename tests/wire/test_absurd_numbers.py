"""Numbers of a server that is broken or hostile neither crash a call nor credit a cap."""

import json
from decimal import Decimal

import pytest
import respx

from wire.conftest import API

ID = "0191b5f2-0000-7000-8000-000000000001"
MOST = 10**15


@pytest.mark.parametrize(
    ("given", "taken"),
    [("-1000", 0), ("1e999999999", MOST), ("Infinity", MOST), ("NaN", MOST), ("0.25", "0.25")],
)
@respx.mock
async def test_an_estimate_is_at_least_nothing_and_at_most_what_no_cap_allows(
    connect_directly, given, taken
):
    body = {"file_id": ID, "total_estimated_cost": given, "total_requests": -3}
    respx.get(f"{API}/files/{ID}/cost-estimate").respond(json=body)
    found = await connect_directly().files.estimate_cost(ID, "24h")
    assert found.total_estimated_cost == Decimal(taken)
    assert found.total_requests == 0


@respx.mock
async def test_counts_without_bound_are_counts(connect_directly):
    counts = {"total": 10**400, "completed": -1, "failed": 2}
    text = json.dumps({"id": "b", "object": "batch", "request_counts": counts})
    respx.get(f"{API}/batches/{ID}").respond(
        text=text, headers={"content-type": "application/json"}
    )
    batch = await connect_directly().batches.get(ID)
    assert batch.request_counts.model_dump() == {"total": MOST, "completed": 0, "failed": 2}


@respx.mock
async def test_a_status_is_a_word_and_not_a_book(connect_directly):
    respx.get(f"{API}/batches/{ID}").respond(json={"id": ID, "status": "Over " * 1_000_000})
    batch = await connect_directly().batches.get(ID)
    assert batch.status == "over_over_over_over_over_over_over_over"


@respx.mock
async def test_a_reply_with_the_id_of_another_batch_does_not_become_that_batch(connect_directly):
    respx.get(f"{API}/batches/{ID}").respond(json={"id": "another", "status": "completed"})
    assert (await connect_directly().batches.get(ID)).id == ID
