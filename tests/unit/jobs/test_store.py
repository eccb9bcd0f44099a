"""The store: opened after an older version, and used by several threads of one process."""

import sqlite3
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.store.apply_results import LineOutcome, RowLine, apply_lines
from doubleword_batch.jobs.store.approvals import Approvals
from doubleword_batch.jobs.store.cascades import CascadeRecord, read_cascade
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.schema import MIGRATIONS
from doubleword_batch.jobs.store.staging import staging_folder
from doubleword_batch.jobs.sync.stored_lines import StoredLines

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


OLD_ROWS = """
    INSERT INTO jobs (name, created_at, provider, base_url, endpoint, model, fingerprint, spec)
        VALUES ('old-1', 1, 'local', 'local', '/v1/chat/completions', 'm', 'f', '{}');
    INSERT INTO parts VALUES (1, 1, 1, 1, NULL, 1, 1, 's', 'file');
    INSERT INTO parts VALUES (2, 1, 2, 2, NULL, 1, 1, 's', 'file-2');
    INSERT INTO attempts (id, job, part, batch_id, status, settled)
        VALUES (1, 1, 1, 'b', 'completed', 1);
    INSERT INTO cursors VALUES (1, 'output', 1, 19);
    INSERT INTO ledger VALUES (1, 1, 'r1', 1, 'ok', NULL, NULL, 3, 4, 1, 'output', 0, 19);
"""


def an_older_store(home):
    """A state directory as the version before the step "words" left it: one answered row."""
    folder = home / "jobs" / "old-1"
    folder.mkdir(parents=True)
    home.chmod(0o700)
    (folder / "attempt-1-output.jsonl").write_bytes(b'{"custom_id":"r1"}\n')
    with closing(sqlite3.connect(home / "store.sqlite3")) as db, db:
        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        for name, script in MIGRATIONS[:3]:
            db.executescript(script)
            db.execute("INSERT INTO migrations VALUES (?)", (name,))
        db.executescript(OLD_ROWS)
    (home / "store.sqlite3").chmod(0o600)


def test_a_store_of_the_version_before_opens_with_its_answers_and_their_files(tmp_path):
    home = tmp_path / "home"
    an_older_store(home)
    with closing(Store(home)) as store:
        (run,) = store.batch_runs(1)
        assert (run.batch_id, run.collected) == ("b", True)
        assert Approvals(store).of_job(1) == []
        assert (store.existing_job("old-1").metadata, store.parts(1)[0].later) == (None, 0)
        assert [(part.retry_round, part.model) for part in store.parts(1)] == [(0, None), (1, None)]
        assert read_cascade(store, 1) == CascadeRecord()
        ledger = Ledger(store, 1)
        assert (ledger.sums(), ledger.tokens()) == ({"ok": 1}, (3, 4))
        (entry,) = ledger.entries()
        job = SimpleNamespace(folder=store.job_folder("old-1"))
        with closing(StoredLines(job)) as lines:
            assert lines.line(entry) == b'{"custom_id":"r1"}\n'


def test_tokens_of_a_failed_row_that_is_run_again_stay_paid(tmp_path):
    with closing(Store(tmp_path / "home")) as store:
        job = store.insert("jobs", **JOB | {"name": "j"})
        part = store.add_part(
            job=job, number=1, retry_round=0, requests=1, size_bytes=1, sha256="s"
        )
        run = store.insert("batch_runs", job=job, part=part, batch_id="b", status="completed")
        ledger = Ledger(store, job)
        ledger.add_rows([(1, "r1", 1)])
        empty = LineOutcome("r1", "failed", "empty_answer", None, 30, 4)
        apply_lines(ledger, run, "output", 0, [RowLine(1, empty, b"{}\n")])
        store.reopen_unanswered(store.batch_runs(job)[0])
        assert (ledger.sums(), ledger.tokens()) == ({"pending": 1}, (30, 4))


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


@pytest.mark.posix("paths of more than 260 characters")
def test_a_state_directory_whose_path_is_too_long_for_sqlite_is_said_to_be_so(tmp_path):
    with pytest.raises(StoreError, match="its path is too long for SQLite, with") as caught:
        Store(tmp_path.joinpath(*["d" * 100] * 6))
    assert "DOUBLEWORD_BATCH_HOME" in caught.value.hint


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


def test_of_two_that_have_seen_an_end_one_is_to_tell_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    with closing(Store(home)) as store, closing(Store(home)) as other:
        job = store.insert("jobs", **JOB)
        store.request_notification(job)
        monkeypatch.setattr(Store, "has", lambda *_: True)  # both have looked before either claims
        assert [each.claim_notification(job) for each in (store, other)] == [True, False]
