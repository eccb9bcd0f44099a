"""A key that an earlier process has seen work is known again: its refusal is an outage."""

from contextlib import closing

import pytest

from doubleword_batch import errors
from doubleword_batch.jobs.store.accepted_keys import AcceptedKey
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.settings import Secret
from wire.conftest import KEY
from wire.scripted_server import answer, serving
from wire.test_outages import ID, WORKS, get, refused

LISTED = answer(200, {"object": "list", "data": []})


@pytest.fixture
def process(connect, tmp_path):
    """Make a client as a new process over the same state directory would."""
    stores = []

    def start(server, *, key=KEY, **options):
        store = Store(tmp_path)
        stores.append(store)
        memory = AcceptedKey(store, server.base_url, Secret(key), **options)
        return connect(server.base_url, api_key=key, key_memory=memory)

    yield start
    for store in stores:
        store.close()


async def test_a_later_process_waits_for_a_server_that_refuses_a_key_it_has_accepted(process):
    async with serving(WORKS, *[refused(401)] * 3, WORKS) as server:
        await get(process(server))
        assert (await get(process(server))).id == ID
        assert len(server.requests) == 5  # nor is the list of models asked for


async def test_a_later_process_says_of_a_lasting_refusal_that_the_key_was_good(process, fake_time):
    async with serving(WORKS, *[refused(401)] * 60) as server:
        await get(process(server))
        with pytest.raises(errors.AuthError) as caught:
            await get(process(server))
    assert caught.value.message.startswith("The server did not accept the key that it accepted")


async def test_another_key_is_another_matter(process, fake_time):
    async with serving(WORKS, *[refused(401)] * 2) as server:
        await get(process(server))
        with pytest.raises(errors.AuthError) as caught:
            await get(process(server, key="sk-another"))
    assert caught.value.retryable is False
    assert fake_time.waits == []


async def test_models_that_anybody_may_list_prove_no_key(process, fake_time):
    async with serving(LISTED, *[refused(401)] * 2) as server:
        await process(server).models.list()
        with pytest.raises(errors.AuthError) as caught:
            await get(process(server))
    assert caught.value.retryable is False


async def test_a_key_is_remembered_after_the_models_were_listed_first(process):
    async with serving(LISTED, WORKS, refused(401), WORKS) as server:
        client = process(server)
        await client.models.list()
        await get(client)
        assert (await get(process(server))).id == ID


async def test_who_only_reads_remembers_nothing(process, fake_time):
    async with serving(WORKS, *[refused(401)] * 2) as server:
        await get(process(server, read_only=True))
        with pytest.raises(errors.AuthError):
            await get(process(server))
    assert fake_time.waits == []


async def test_neither_a_key_nor_many_of_them_are_kept(tmp_path):
    store = Store(tmp_path)
    keys = [AcceptedKey(store, "https://a.test/v1", Secret(f"sk-{number}")) for number in range(20)]
    for key in keys * 2:
        key.remember()
    rows = store.query("SELECT length(mark) FROM accepted_keys")
    store.close()
    assert rows == [(4,)] * 8
    assert all(b"sk-1" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


async def test_a_store_that_is_closed_costs_nobody_a_request(tmp_path):
    store = Store(tmp_path)
    key = AcceptedKey(store, "https://a.test/v1", Secret("sk-1"))
    store.close()
    key.remember()
    assert key.has_worked() is False


@pytest.mark.parametrize(("salt", "mark"), [("text", b"mark"), (b"salt", "text"), (7, 1.5)])
async def test_what_is_not_a_mark_in_a_store_from_elsewhere_is_none(tmp_path, salt, mark):
    with closing(Store(tmp_path)) as store:
        with store.transaction() as db:
            db.execute(
                "INSERT INTO accepted_keys (base_url, salt, mark, accepted_at) VALUES (?, ?, ?, 0)",
                ("https://here", salt, mark),
            )
        assert not AcceptedKey(store, "https://here", Secret(KEY)).has_worked()
