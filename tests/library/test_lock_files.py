"""The lock file beside a table: what it holds, what it leaves out, what it may replace."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch import Jobs, Settings, run
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export.lock_file import masked
from doubleword_batch.jobs.locked_run import locked_request, open_lock
from doubleword_batch.paths import Roots

PROMPT = "Good or bad? {{ text }}"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.fixture
def environment(tmp_path):
    return {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }


@pytest.fixture
def table(reviews):
    return reviews


@pytest.fixture
def work(tmp_path, environment, monkeypatch):
    """Runs a job, as a person's program in that folder does."""
    monkeypatch.chdir(tmp_path)

    def run_job(source, output="answers.csv", **asked):
        settings = Settings.from_environment(environment | asked.pop("environment", {}))
        return run(source, prompt=PROMPT, output_path=output, settings=settings, **asked)

    return run_job


def lock_of(folder, name="answers.lock.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_says_what_made_the_table(work, table, tmp_path):
    done = work(table, response_schema=SCHEMA, params={"max_tokens": 9})
    lock = lock_of(tmp_path)
    assert done.reply.lock == "answers.lock.json"
    assert lock["source"]["location"] == "reviews.csv"
    assert (lock["source"]["rows"], lock["job"]["ledger"]) == (2, {"ok": 2})
    assert lock["request"]["prompt"] == PROMPT
    assert lock["request"]["response_schema"] == SCHEMA
    assert lock["request"]["params"] == {"max_tokens": 9}
    assert (lock["request"]["model"], lock["provider"]["name"]) == ("simulated-chat", "local")
    assert lock["job"]["name"] == done.reply.job
    assert len(lock["job"]["batch_ids"]) == 1
    assert lock["versions"]["doubleword-batch"]


def test_is_the_same_bytes_when_the_table_is_written_again(work, table, tmp_path):
    work(table)
    before = (tmp_path / "answers.lock.json").read_bytes()
    work(table)
    assert (tmp_path / "answers.lock.json").read_bytes() == before


def test_holds_neither_rows_nor_secrets(work, tmp_path):
    secrets = {
        "tools": [
            {"type": "mcp", "server_url": "https://me:pw123@tools.example", "headers": {"X": "y"}}
        ],
        "user": "sk-abcdefghijklmnop1234",
        "metadata": {"access_token": "opaque", "accessKey": "opaque2"},
    }
    work([{"text": "a private matter"}], output="answers.jsonl", params=secrets)
    written = (tmp_path / "answers.lock.json").read_text(encoding="utf-8")
    lock = json.loads(written)
    assert "location" not in lock["source"]
    for secret in ("private", "pw123", "abcdefghijkl", "opaque", '"y"'):
        assert secret not in written
    assert "params.metadata.access_token" in lock["request"]["left_out"]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_is_left_out_where_a_person_wants_none(work, table, tmp_path, way):
    if way == "argument":
        work(table, lock=False)
    else:
        work(table, environment={"DOUBLEWORD_BATCH_LOCK_FILES": "0"})
    assert (tmp_path / "answers.csv").exists()
    assert not (tmp_path / "answers.lock.json").exists()


@pytest.mark.parametrize("content", ["mine", '{"doubleword_batch_lock": 1}', "[" * 100_000])
def test_a_file_of_somebody_elses_stays_and_the_table_is_written_all_the_same(
    work, table, tmp_path, content
):
    (tmp_path / "answers.lock.json").write_text(content, encoding="utf-8")
    done = work(table, overwrite=True)
    assert (tmp_path / "answers.csv").exists()
    assert (tmp_path / "answers.lock.json").read_text(encoding="utf-8") == content
    assert "answers.lock.json" in done.reply.warnings[0]
    assert done.reply.lock is None


def test_a_link_in_its_place_leads_nowhere(work, table, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "answers.lock.json").symlink_to(tmp_path / "notes.txt")
    done = work(table, overwrite=True)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert done.reply.lock is None


def test_follows_the_table_when_another_job_writes_it(work, table, tmp_path):
    first = work(table).reply.job
    second = work(table, params={"max_tokens": 9}, overwrite=True).reply.job
    assert first != second
    assert lock_of(tmp_path)["job"]["name"] == second


async def test_is_no_table_so_a_job_whose_table_is_gone_is_not_deleted_unasked(
    work, table, environment, tmp_path
):
    name = work(table).reply.job
    (tmp_path / "answers.csv").unlink()
    async with Jobs(Settings.from_environment(environment)) as jobs:
        with pytest.raises(InputError) as refused:
            await jobs.job(name).delete()
    assert refused.value.code == "not_confirmed"
    assert (tmp_path / "answers.lock.json").exists()


async def test_the_table_of_a_query_names_the_query(environment, table, tmp_path):
    async with Jobs(Settings.from_environment(environment)) as jobs:
        job = await jobs.create(table, prompt=PROMPT)
        await job.submit()
        await job.wait()
        await job.results(tmp_path / "few.csv", query="SELECT text FROM results WHERE stars = 5")
    assert lock_of(tmp_path, "few.lock.json")["table"]["query"].startswith("SELECT text")


# Reading one that somebody else wrote


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A person's, who may read everything; and a lock file as one is written."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (tmp_path / "reviews.csv").write_text("text\na fine book\n", encoding="utf-8")
    lock = {
        "doubleword_batch_lock": 1,
        "versions": {},
        "table": {"file": "answers.csv", "format": "csv", "sha256": ""},
        "source": {"location": "reviews.csv"},
        "request": {"model": "m", "endpoint": "/v1/chat/completions", "prompt": PROMPT},
        "provider": {"name": "local", "base_url": "local"},
        "job": {
            "name": "a",
            "fingerprint": "f",
            "built_at": "",
            "batch_ids": [],
            "rows": 1,
            "ledger": {},
        },
    }
    (tmp_path / "answers.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return SimpleNamespace(roots=Roots(None))


async def test_gives_the_same_work_again(work, table, environment, tmp_path):
    name = work(table, response_schema=SCHEMA).reply.job
    async with Jobs(Settings.from_environment(environment)) as jobs:
        ws = await jobs.workspace()
        request = locked_request(ws, open_lock(ws, str(tmp_path / "answers.lock.json")))
        created = await jobs.build(request)
        assert (created.reused, created.job) == (True, name)
        request = dataclasses.replace(request, prompt=f"@{table} {{{{ text }}}}", system=str(table))
        created = await jobs.build(request)  # what looks like a file is text
        assert created.first_request.startswith(str(table))


@pytest.mark.parametrize("place", ["../../outside.csv", "/etc/passwd", "/etc/*", ".hidden/a.csv"])
def test_a_source_out_of_bounds_is_refused(workspace, tmp_path, place):
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    (tmp_path / "outside.csv").write_text("text\nx\n", encoding="utf-8")
    lock = lock_of(tmp_path)
    lock["source"]["location"] = place
    (folder / "a.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    run = open_lock(workspace, str(folder / "a.lock.json"))
    with pytest.raises(InputError) as refused:
        locked_request(workspace, run)
    assert refused.value.code in {"outside_roots", "file_not_found"}
    assert locked_request(workspace, run, source="rows.csv").source == "rows.csv"


@pytest.mark.parametrize("name", ["../rows.csv", "/etc/passwd", "a\\b.csv", "C:x.csv", ""])
def test_a_table_elsewhere_is_refused(workspace, tmp_path, name):
    lock = lock_of(tmp_path)
    lock["table"]["file"] = name
    (tmp_path / "a.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    run = open_lock(workspace, str(tmp_path / "a.lock.json"))
    with pytest.raises(InputError, match="lock file"):
        _ = run.table


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[" * 200_000,
        '{"doubleword_batch_lock": 1}',
        '{"a":' * 5_000,
        "\xff",
        " " * (17 << 20),
    ],
    ids=["empty", "null", "nested", "bare", "objects", "letters", "large"],
)
def test_anything_else_is_not_a_lock_file(workspace, tmp_path, content):
    (tmp_path / "a.lock.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="is not a lock file"):
        open_lock(workspace, str(tmp_path / "a.lock.json"))


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("request", {"prompt": None}, "made elsewhere, so its prompt is not known"),
        ("source", {"location": None}, "were not in a file, so they have to be given again"),
        ("request", {"schema_format": {"name": 7}}, "is not a lock file"),
    ],
)
def test_what_it_lacks_for_the_same_work_is_said(workspace, tmp_path, part, changes, words):
    lock = lock_of(tmp_path)
    lock[part] |= changes
    (tmp_path / "a.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    run = open_lock(workspace, str(tmp_path / "a.lock.json"))
    with pytest.raises(InputError, match=words):
        locked_request(workspace, run)


def test_rows_of_an_earlier_job_are_asked_of_that_job_again(workspace, tmp_path):
    lock = lock_of(tmp_path)
    lock["source"]["location"] = "job:reviews-1a2b"
    (tmp_path / "a.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    run = open_lock(workspace, str(tmp_path / "a.lock.json"))
    assert locked_request(workspace, run).source == "job:reviews-1a2b"


def test_one_of_a_later_format_says_so(workspace, tmp_path):
    lock = lock_of(tmp_path) | {"doubleword_batch_lock": 2}
    (tmp_path / "a.lock.json").write_text(json.dumps(lock), encoding="utf-8")
    with pytest.raises(InputError, match="newer version"):
        open_lock(workspace, str(tmp_path / "a.lock.json"))


SECRET = "s3cr3t-value-of-somebody"
NAMES = st.sampled_from(
    ["api_key", "Authorization", "x-api-key", "clientSecret", "password", "auth_token"]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=25)
@given(plain=PLAIN, name=NAMES, depth=st.integers(0, 4))
def test_a_secret_is_found_by_its_name_at_any_depth(plain, name, depth):
    value = {name: SECRET, "other": plain}
    for _ in range(depth):
        value = [value, {"inner": value}]
    kept, places = masked(value)
    assert SECRET not in json.dumps(kept)
    assert places
    assert masked(plain) == (plain, [])


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abcdefgh12345678",
        "https://user:hunter2@host/x",
        "ghp_abcdefghijklmnopqrstuv",
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
    ],
)
def test_a_secret_is_found_by_its_form(text):
    kept, _ = masked({"note": f"use {text} for it"})
    assert text not in kept["note"]


@pytest.mark.parametrize("name", ["max_tokens", "prompt_cache_key", "logit_bias", "stop"])
def test_ordinary_parameters_stay(name):
    assert masked({name: "value"}) == ({name: "value"}, [])


def test_the_schema_of_a_tools_argument_is_not_a_secret():
    value = {"properties": {"token": {"type": "string", "description": "which word"}}}
    assert masked(value) == (value, [])
