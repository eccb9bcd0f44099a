"""The day's cap holds whatever becomes of the store, of the log beside it, and of the clock."""

import subprocess
import sys
from decimal import Decimal

import pytest

from agent import agent
from as_doubleword import as_doubleword
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.journal import append_spending, spent_today
from doubleword_batch.settings import Settings

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}", "model": "Qwen/Qwen3.5-397B-A17B"}


def daily(environment, server):
    """Settings under a cap for the day."""
    cap = {"DOUBLEWORD_BATCH_MAX_DAILY_USD": "0.01"}
    return Settings.from_environment({**environment, **as_doubleword(server), **cap})


@pytest.mark.parametrize("loss", ["emptied", "removed", "replaced"])
async def test_a_lost_store_does_not_begin_a_new_day(
    environment, faulty, reviews, home, tmp_path, loss
):
    order = {**ORDER, "params": {"max_tokens": 120}, "new_run": True}
    with faulty() as server:
        async with agent(daily(environment, server)) as a:
            created = await a.calls("create_batch_file", **order)
            await a.calls("create_batch", job=created["job"])
        for path in home.glob("store.sqlite3*"):
            path.unlink()
        if loss == "emptied":
            (home / "store.sqlite3").touch(mode=0o600)
        if loss == "replaced":
            Store(tmp_path / "fresh").close()
            (tmp_path / "fresh" / "store.sqlite3").rename(home / "store.sqlite3")
        async with agent(daily(environment, server)) as a:
            again = await a.tries("create_batch_file", **order)
            if loss == "replaced":
                again = await a.fails("create_batch", job=again["job"])
    assert again.is_error
    assert again["error"]["code"] == ("over_cap" if loss == "replaced" else "store")


async def test_a_log_of_spending_that_cannot_be_read_lets_nothing_through_in_words(
    environment, faulty, reviews, home
):
    with faulty() as server:
        async with agent(daily(environment, server)) as a:
            created = await a.calls("create_batch_file", **ORDER)
            (home / "spending.jsonl").mkdir()
            reply = await a.fails("create_batch", job=created["job"])
            assert "lines" not in (await a.calls("list", kind="batches")).fields
    assert reply["error"]["code"] == "store"


def test_the_log_beside_the_store_holds_today_and_begins_anew(tmp_path):
    monday, tuesday = 1_700_000_000, 1_700_000_000 + 86_400
    append_spending(tmp_path, monday, {"a": Decimal(1), "b": Decimal(2)})
    append_spending(tmp_path, monday, {"a": Decimal(3)})
    with (tmp_path / "spending.jsonl").open("ab") as log:
        log.write(b'{"day": "torn')
    assert spent_today(tmp_path, monday) == {"a": Decimal(3), "b": Decimal(2)}
    append_spending(tmp_path, monday, {"d": Decimal(5)})
    behind = {"a": Decimal(3), "b": Decimal(2), "d": Decimal(5)}
    assert spent_today(tmp_path, monday) == behind, "a torn line takes none with it"
    assert spent_today(tmp_path, tuesday) == {}
    append_spending(tmp_path, tuesday, {"c": Decimal(4)})
    assert spent_today(tmp_path, tuesday) == {"c": Decimal(4)}


ALMOST_FULL = """
import resource, sys
from pathlib import Path
from doubleword_batch.jobs.store.journal import append_spending

append_spending(Path(sys.argv[1]), 0, {"a": 1})
room = (Path(sys.argv[1]) / "spending.jsonl").stat().st_size + 60  # for a line and a half
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    append_spending(Path(sys.argv[1]), 0, {"b": 2, "c": 3})
except OSError:
    print("told")
"""


@pytest.mark.posix("limits on a file's size")
def test_what_is_noted_in_part_alone_is_not_taken_for_noted(tmp_path):
    child = [sys.executable, "-c", ALMOST_FULL, tmp_path]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "told"


def test_a_clock_set_back_over_midnight_does_not_free_the_day_that_had_begun(tmp_path):
    day = 86_400
    monday = 20_000.0 * day - 60
    tuesday = monday + 120
    append_spending(tmp_path, tuesday, {"a": Decimal(3)})
    append_spending(tmp_path, monday, {"b": Decimal(2)})
    append_spending(tmp_path, tuesday, {"c": Decimal(1)})
    assert spent_today(tmp_path, tuesday) == {"a": Decimal(3), "c": Decimal(1)}
    append_spending(tmp_path, tuesday + day, {"d": Decimal(1)})
    assert (spent_today(tmp_path, tuesday), spent_today(tmp_path, monday)) == ({}, {})
