"""The store under several threads of one process."""

import threading

import pytest

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.jobs.store.staging import staging_folder

WAIT_SECONDS = 10
MOMENT_SECONDS = 0.3
JOB = {
    "created_at": 1,
    "provider": "local",
    "base_url": "local",
    "endpoint": "/v1/chat/completions",
    "model": "m",
    "fingerprint": "f",
    "spec": "{}",
}


def test_closing_waits_for_the_thread_that_is_in_a_transaction(tmp_path):
    store = Store(tmp_path / "home")
    inside, go_on = threading.Event(), threading.Event()
    seen = []

    def work():
        with store.transaction():
            inside.set()
            go_on.wait(WAIT_SECONDS)
            seen.append(store.query("SELECT 1"))

    worker = threading.Thread(target=work)
    closer = threading.Thread(target=store.close)
    worker.start()
    assert inside.wait(WAIT_SECONDS)
    closer.start()
    closer.join(MOMENT_SECONDS)
    go_on.set()
    worker.join(WAIT_SECONDS)
    closer.join(WAIT_SECONDS)
    assert seen == [[(1,)]]


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.query("SELECT 1"),
        lambda s: s.read("SELECT 1"),
        lambda s: s.insert("jobs", name="a"),
    ],
)
def test_a_closed_store_says_that_it_is_closed(tmp_path, use):
    store = Store(tmp_path / "home")
    store.close()
    with pytest.raises(StoreError) as caught:
        use(store)
    assert caught.value.code == "closed"


def test_a_state_directory_that_takes_no_folder_is_said_to_be_unusable(tmp_path):
    store = Store(tmp_path / "home")
    (tmp_path / "home" / "jobs").rmdir()
    (tmp_path / "home" / "jobs").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be used"), staging_folder(store):
        pass
    store.close()


MANY_ROWS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)
    SELECT count(*) FROM n
"""


def test_nobody_waits_for_a_read_that_goes_through_many_rows(tmp_path):
    store = Store(tmp_path / "home")
    counted = []
    reader = threading.Thread(target=lambda: counted.extend(store.read(MANY_ROWS)))
    answered = 0
    reader.start()
    while reader.is_alive():
        store.insert("jobs", **JOB)
        answered += 1
    reader.join(WAIT_SECONDS)
    store.close()
    assert counted == [(3_000_000,)]
    assert answered > 5


def test_a_long_read_inside_of_a_transaction_sees_what_was_written_in_it(tmp_path):
    store = Store(tmp_path / "home")
    with store.transaction():
        store.insert("jobs", **JOB)
        assert store.read("SELECT count(*) FROM jobs") == [(1,)]
    assert store.read("SELECT count(*) FROM jobs") == [(1,)]
    store.close()
