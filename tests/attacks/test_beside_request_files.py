"""What lies beside a request file out of somebody's repository leads the skill's script nowhere."""

import json
import os
import time

import pytest

from skill.conftest import command, environment, requests_of, run, served, work
from skill.places import script_module

__all__ = ["command", "environment", "requests_of", "run", "served", "work"]

OWN = (
    "requests.results.jsonl.reading",
    "requests.errors.jsonl.reading",
    "requests.jsonl.state.json",
)


@pytest.fixture
def victim(tmp_path):
    """A file of the person's whose last line has no end."""
    file = tmp_path / "profile"
    file.write_bytes(b"alias a=b\nexport KEPT=1")
    return file


@pytest.mark.parametrize("name", OWN)
def test_a_link_in_the_place_of_a_file_of_ours_is_refused(
    run, served, requests_of, work, victim, name
):
    requests_of(2)
    (work / name).symlink_to(victim)
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", **server.variables)
    assert (done.code, "is a link, or not a file" in done.err) == (7, True), done.err
    assert victim.read_bytes() == b"alias a=b\nexport KEPT=1"


@pytest.mark.parametrize("name", ["requests.results.jsonl", "requests.results.jsonl.part"])
def test_a_link_that_leads_nowhere_yet_makes_no_file_there(
    run, served, requests_of, work, tmp_path, name
):
    requests_of(2)
    (work / name).symlink_to(tmp_path / "made")
    with served() as server:
        done = run("run_batch.py", "requests.jsonl", **server.variables)
    assert done.code == 0, done.err
    assert not (tmp_path / "made").exists()
    assert len((work / "requests.results.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.posix("pipes in the place of files")
@pytest.mark.parametrize("name", OWN)
def test_a_pipe_in_the_place_of_a_file_of_ours_is_not_waited_for(work, name):
    os.mkfifo(work / name)
    with pytest.raises(script_module("cli").ScriptError, match="not a file"):
        script_module("atomic_files").open_own(work / name, "rb")


HONEST = {
    "sha256": "a",
    "base_url": "b",
    "upload_sent_at": None,
    "file_id": None,
    "create_sent_at": None,
    "batch_id": None,
    "ended": None,
}
STRANGE = [
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"create_sent_at": 1e999}',
    *(
        json.dumps(HONEST | strange).encode()
        for strange in (
            {"create_sent_at": "soon"},
            {"create_sent_at": -(10**400)},
            {"upload_sent_at": float("nan")},
            {"batch_id": ["a"]},
            {"file_id": 5},
            {"ended": {}},
            {"sha256": None},
        )
    ),
]


@pytest.mark.parametrize("entries", STRANGE, ids=range(len(STRANGE)))
def test_a_journal_of_strange_entries_cannot_be_read(work, entries):
    (work / "requests.jsonl").write_bytes(b"{}\n")
    (work / "requests.jsonl.state.json").write_bytes(entries)
    with pytest.raises(script_module("cli").ScriptError, match="cannot be read"):
        script_module("journal").Journal(work / "requests.jsonl", "http://127.0.0.1/v1")


def test_a_journal_from_the_future_is_not_waited_for_longer_than_one_of_now(work):
    (work / "requests.jsonl").write_bytes(b"{}\n")
    journal = script_module("journal").Journal(work / "requests.jsonl", "http://127.0.0.1/v1")
    journal.note(create_sent_at=time.time() + 1e9)
    again = script_module("journal").Journal(work / "requests.jsonl", "http://127.0.0.1/v1")
    assert again.seconds_in_doubt(60) <= 60
