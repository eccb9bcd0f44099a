"""The state directory is out of bounds for agents, whatever the roots say."""

import os
import subprocess
from pathlib import Path

import pytest

import processes
from agent import agent
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Settings
from processes import COMMAND

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}


@pytest.fixture
def state(work):
    """A state directory inside the root, as with DOUBLEWORD_BATCH_ROOTS=$HOME."""
    folder = work / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def settings(environment, state):
    return Settings.from_environment({**environment, "DOUBLEWORD_BATCH_HOME": str(state)})


async def test_it_is_neither_read_nor_written_although_it_lies_in_a_root(settings, reviews, state):
    async with agent(settings) as a:
        results = await a.runs_job(**ORDER)
        folder = f"state/jobs/{results['job']}"
        before = sorted(p for p in (state / "jobs").rglob("*"))
        for path in (
            "state/store.sqlite3",
            "state/store.sqlite3-wal",
            "state/new.csv",
            "STATE/new.csv",
            f"{folder}/answers.jsonl",
        ):
            reply = await a.fails(
                "fetch_results", job=results["job"], output_path=path, overwrite=True
            )
            assert reply["error"]["code"] in {"outside_roots", "invalid_argument", "file_not_found"}
        for source in (
            "state/store.sqlite3::SELECT * FROM jobs",
            f"{folder}/part-0001.jsonl",
            "state/jobs/*/part-*.jsonl",
            "state",
        ):
            reply = await a.fails("create_batch_file", source=source, prompt="{{ row }}")
            assert reply["error"]["code"] == "outside_roots"
        await a.fails("upload", path=f"{folder}/part-0001.jsonl")
        await a.fails("create_batch_file", **ORDER, response_schema=f"{folder}/part-0001.jsonl")
    after = sorted(p for p in (state / "jobs").rglob("*"))
    assert before == after


def test_links_and_other_spellings_do_not_lead_into_it(work, state):
    (state / "x.csv").write_text("text\nx\n", encoding="utf-8")
    (work / "link").symlink_to(state)
    (work / "x.csv").symlink_to(state / "x.csv")
    roots = Roots([work], state_directory=state, is_for_agent=True)
    for path in ("link/x.csv", "x.csv", "state/../state/x.csv", str(state / "x.csv")):
        for use in (roots.readable, roots.matches):
            with pytest.raises(InputError, match="out of bounds"):
                use(path)
        with pytest.raises(InputError, match="out of bounds"):
            roots.writable(path, overwrite=True)


@pytest.mark.parametrize("name", ["STATE", "\uff53tate"])
def test_a_name_that_some_disks_take_for_the_same_does_not_lead_into_it(work, state, name):
    roots = Roots([work], state_directory=state, is_for_agent=True)
    for use in (roots.readable, roots.writable):
        with pytest.raises(InputError, match="out of bounds"):
            use(f"{name}/x.csv")


def test_a_link_that_names_it_names_what_it_will_be(work, tmp_path):
    (tmp_path / "named").symlink_to(work / "later")
    roots = Roots([work], state_directory=tmp_path / "named", is_for_agent=True)
    with pytest.raises(InputError, match="out of bounds"):
        roots.writable("later/x.csv")


def test_it_is_known_by_what_the_disk_says_too(work, state, monkeypatch):
    """As where a disk shows it twice, under names that have nothing in common."""
    twin = work / "twin"
    (twin / "jobs").mkdir(parents=True)
    real = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda path, **more: real(state if path == twin else path, **more)
    )
    roots = Roots([work], state_directory=state, is_for_agent=True)
    for path in ("twin/x.csv", "twin/jobs/x.csv"):
        with pytest.raises(InputError, match="out of bounds"):
            roots.writable(path)
    assert roots.writable("x.csv") == work / "x.csv"


def test_a_root_inside_it_opens_nothing(state):
    (state / "jobs").mkdir()
    roots = Roots([state / "jobs"], state_directory=state, is_for_agent=True)
    with pytest.raises(InputError, match="out of bounds"):
        roots.writable("x.csv")


def test_a_person_writes_no_table_there_either(state):
    roots = Roots(None, state_directory=state)
    with pytest.raises(InputError, match="out of bounds"):
        roots.writable(state / "store.sqlite3", overwrite=True)
    (state / "answers.jsonl").write_text("{}", encoding="utf-8")
    assert roots.readable(state / "answers.jsonl") == state / "answers.jsonl"


def test_a_row_does_not_reach_it(work, state):
    (state / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="out of bounds"):
        Roots(None, state_directory=state).for_data(work).readable(os.fspath(state / "x.png"))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o701])
async def test_one_that_is_open_to_others_is_refused_at_start(settings, reviews, state, mode):
    state.chmod(mode)
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER)
    assert "open to other users" in reply["error"]["message"]
    assert reply["error"]["hint"] == f"chmod 700 {state}"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
async def test_a_store_that_is_open_to_others_is_refused(settings, reviews, state):
    (state / "store.sqlite3").touch(mode=0o600)
    (state / "store.sqlite3").chmod(0o666)
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER)
    assert reply["error"]["hint"] == f"chmod 600 {state / 'store.sqlite3'}"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("server", [["local"], ["proxy"], ["console", "--no-browser"]])
def test_no_server_of_ours_starts_in_one_that_is_open_to_others(environment, state, server):
    """Each keeps a key there, which others could read, or put there before it."""
    state.chmod(0o777)
    with processes.Popen(
        [*COMMAND, *server, "--port", "0"],
        env={**os.environ, **environment, "DOUBLEWORD_BATCH_HOME": str(state)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        try:
            told = started.communicate(timeout=120)
        finally:
            started.kill()
    assert f"The state directory {state} is open to other users" in told[1]
    assert not [path for path in state.rglob("*") if path.name in {"key", "token"}]


async def test_one_of_another_owner_is_refused_and_the_doctor_says_so(
    settings, reviews, state, monkeypatch
):
    from doubleword_batch import doctor

    monkeypatch.setattr(os, "geteuid", lambda: state.stat().st_uid + 1)
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER)
    assert "belongs to another user" in reply["error"]["message"]
    finding = doctor.state_directory(state)
    assert finding.state == "wrong"
    assert "belongs to another user" in finding.found
