"""Which rows ask the same: keys, buckets on disk, key files, and the ledger of shared rows."""

import errno
import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.reuse import key_file
from doubleword_batch.jobs.reuse.key_file import EqualRows, KeyFile, key_file_path
from doubleword_batch.jobs.store.apply_results import LineOutcome, RowLine, apply_lines
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.requests import RequestKeys

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
bodies = st.dictionaries(st.text(max_size=6), json_values, max_size=5)


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def respelt(value, chance):
    """The same value as JSON, its numbers written in another way."""
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {respelt(field, chance)}" for name, field in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(respelt(item, chance) for item in value) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return chance.choice([f"{value}", f"{value}.0", f"{value}e0", f"{value}0E-1"])
    return json.dumps(value)


@settings(max_examples=40)
@given(bodies, st.randoms())
def test_a_key_does_not_depend_on_the_order_or_the_spelling_of_a_bodys_fields(body, chance):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    names = list(body)
    chance.shuffle(names)
    first = msgspec.json.encode(body)
    second = msgspec.json.format(msgspec.json.encode({name: body[name] for name in names}))
    assert keys.keys_of_body(first)[0] == keys.keys_of_body(second)[0]


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=6), st.none() | values, max_size=4), st.randoms())
def test_a_call_and_a_row_of_a_table_have_the_same_keys(body, chance):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    text = respelt(body, chance).encode()
    assert keys.keys_of_body(text) == keys.keys_of_fields(msgspec.json.decode(text))


@pytest.mark.parametrize("depth", [*range(940, 1000, 3), 5_000])
def test_however_deep_a_body_nests_it_has_a_key(depth):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    body = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    assert keys.keys_of_body(body) == keys.keys_of_body(body)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 400 + b".0"])
def test_a_number_beyond_all_floats_is_asked_as_it_is_written(number):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    key, former = keys.keys_of_body(b'{"a":%b}' % number)
    assert former is None
    assert key != keys.keys_of_body(b'{"a": %b}' % number)[0]
    assert key != keys.keys_of_body(b'{"a":null}')[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"a":{"b":1,"c":2}}', b'{"a":{"c":2,"b":1}}'),  # a schema's order counts
        (b'{"a":1}', b'{"a":1.5}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":0}', b"{}"),
        (b'{"a":{"b":null}}', b'{"a":{}}'),  # inside of a schema a null says something
        (b'{"a":9007199254740993}', b'{"a":9007199254740992.0}'),
        (b"no json", b"no  json"),
    ],
)
def test_other_requests_have_other_keys(first, second):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    assert keys.keys_of_body(first)[0] != keys.keys_of_body(second)[0]


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=6), values, max_size=4), st.randoms())
def test_a_number_has_one_key_however_it_is_written_and_a_null_is_nothing(body, chance):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    members = [f"{json.dumps(name)}:{respelt(value, chance)}" for name, value in body.items()]
    members += ['"1 null":null', '"2 nulls" : null']
    chance.shuffle(members)
    written = "{" + ",".join(members) + "}"
    assert keys.keys_of_body(written.encode())[0] == keys.keys_of_body(msgspec.json.encode(body))[0]


@settings(max_examples=60)
@given(values, values)
def test_other_values_have_other_keys(first, second):
    keys = RequestKeys("p", "s", "/v1/chat/completions")
    # An order of fields inside counts, and Python counts True as 1: compared is what is written.
    if plainly(first) != plainly(second):
        bodies = [msgspec.json.encode({"a": value}) for value in (first, second)]
        assert keys.keys_of_body(bodies[0])[0] != keys.keys_of_body(bodies[1])[0]


def plainly(value):
    """As JSON, with whole numbers as such."""
    if isinstance(value, dict):
        return [(name, plainly(field)) for name, field in value.items()]
    if isinstance(value, list):
        return ["list", *map(plainly, value)]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value) if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (
            '{"model":"m","messages":[{"role":"user","content":"Say a"}],"temperature":0}',
            "da11842c757afc016e187b12a4a08e47",
        ),
        ('{"model":"m","input":"x","dimensions":8}', "f2b99f513522b512f3117ec811a65e4b"),
        (
            (
                '{"temperature":0.5,"messages":[{"role":"user","content":"null 1.0"}],"model":"m",'
                '"response_format":{"type":"json_schema","json_schema":{"schema":{"default":null,'
                '"enum":[null,1.5]}}}}'
            ),
            "afbeaab3cde7bcbe272a98ee330aa69b",
        ),
    ],
)
def test_stored_keys_stay_those_of_the_same_requests(body, key):
    keys = RequestKeys("doubleword", "https://api.doubleword.ai/v1", "/v1/chat/completions")
    assert keys.keys_of_body(body.encode()) == (bytes.fromhex(key), None)


def test_a_key_says_whom_is_asked():
    asked = [("p", "s", "e"), ("q", "s", "e"), ("p", "t", "e"), ("p", "s", "f"), ("ps", "", "e")]
    assert len({RequestKeys(*whom).keys_of_body(b"{}")[0] for whom in asked}) == len(asked)


def built(folder, keys, *, shares):
    """Feed keys as a build does; returns the row that each row shares, if any."""
    equal = EqualRows(folder, shares=shares)
    first = {}
    for row, key in enumerate(keys, start=1):
        found = equal.first_row(row, key)
        if found is not None:
            first[row] = found
    equal.write_keys(first.__setitem__)
    return {row: first.get(found, found) for row, found in first.items()}


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 20), st.integers(1, 60))
def test_each_row_shares_the_first_of_its_equals_in_whatever_memory_there_is(
    tmp_path_factory, numbers, recent, in_memory
):
    folder = tmp_path_factory.mktemp("keys")
    keys = [n.to_bytes(1, "big") * 16 for n in [7 * n % 256 for n in numbers]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_file, "_RECENT", recent)
        patch.setattr(key_file, "_MOST_IN_MEMORY", in_memory)
        shared = built(folder, keys, shares=True)
    firsts = {key: keys.index(key) + 1 for key in keys}
    wanted = {row: firsts[key] for row, key in enumerate(keys, 1) if firsts[key] != row}
    assert shared == wanted
    with KeyFile(folder) as found:
        assert dict(found.rows_of(set(keys))) == firsts
        assert len(found) == len(firsts)
    assert [path.name for path in folder.iterdir()] == ["keys.bin"]


def test_where_samples_are_wanted_every_row_keeps_its_key(tmp_path):
    keys = [b"a" * 16, b"b" * 16, b"a" * 16]
    assert built(tmp_path, keys, shares=False) == {}
    with KeyFile(tmp_path) as found:
        assert list(found.rows_of([b"a" * 16])) == [(b"a" * 16, 1), (b"a" * 16, 3)]
        assert list(found.rows_of([b"\0" * 16, b"\xff" * 16])) == []


@pytest.mark.parametrize("left_bytes", [0, 21, 22, None])
@pytest.mark.parametrize("shares", [True, False])
def test_keys_that_cannot_be_read_back_from_the_disk_are_a_failure_and_not_forgotten(
    tmp_path, monkeypatch, shares, left_bytes
):
    monkeypatch.setattr(key_file, "_RECENT", 1)
    monkeypatch.setattr(key_file, "_MOST_IN_MEMORY", 1)
    equal = EqualRows(tmp_path, shares=shares)
    for row in (1, 2):
        equal.first_row(row, bytes([row]) * 16)
    (spilled,) = tmp_path.iterdir()
    if left_bytes is None:
        spilled.unlink()
    else:
        spilled.write_bytes(spilled.read_bytes()[:left_bytes])
    with pytest.raises(StoreError) as failure:
        equal.write_keys(lambda _row, _first: None)
    assert (failure.value.code, spilled.name in failure.value.message) == ("not_written", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"x", b"dwbkeys1", b"dwbkeys2", None])
def test_a_key_file_that_is_not_whole_counts_as_none(tmp_path, damage):
    built(tmp_path, [bytes([n]) * 16 for n in range(20)], shares=True)
    path = key_file_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    with KeyFile(tmp_path) as found:
        assert (len(found), list(found.rows_of([b"\0" * 16]))) == (0, [])
        assert [record for bucket in range(64) for record in found.bucket(bucket)] == []


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "home")
    yield opened
    opened.close()


OUTCOMES = ("ok", "failed", "truncated", "refused")


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_share_have_the_outcome_of_their_request_whatever_happens(store, seed):
    chance = random.Random(seed)
    job = store.insert(
        "jobs", created_at=0, provider="p", base_url="b", endpoint="e", model="m",
        fingerprint="f", spec="{}",
    )  # fmt: skip
    ledger = Ledger(store, job)
    part = store.add_part(job=job, number=1, retry_round=0, requests=1, size_bytes=1, sha256="s")
    runs = [
        store.insert("batch_runs", job=job, part=part, batch_id=f"b{n}", status="completed")
        for n in range(4)
    ]
    first_of = {row: chance.randint(1, 20) for row in range(21, 60)}
    ledger.add_rows([(row, f"r{row}", 1) for row in range(1, 21)])
    ledger.add_sharing_rows([(row, f"r{row}", first) for row, first in first_of.items()])
    offset = 0
    for run in runs:
        rows = chance.sample(range(1, 60), 30)  # also rows that were never sent
        lines = [
            RowLine(row, LineOutcome(f"r{row}", chance.choice(OUTCOMES), "c", "m", 1, 2), b"x\n")
            for row in rows
        ]
        applied = apply_lines(ledger, run, "output", offset, lines)
        assert applied.unknown_ids == sum(row in first_of for row in rows)
        offset += len(applied.text)
        step = chance.randrange(4)
        if step == 0:
            ledger.close_rows([(1, "missing", "missing", run)])
        elif step == 1:
            ledger.reopen_unanswered(run)
        elif step == 2:
            ledger.reopen_lost(run, "output", left=chance.choice((0, 1_000)))
        else:
            ledger.reopen(1, chance.sample(range(1, 21), 4))
        entries = {entry.row: entry for entry in ledger.entries()}
        assert sum(ledger.sums().values()) == 59
        for row, first in first_of.items():
            mine, theirs = entries[row], entries[first]
            for name in ("outcome", "cause", "message", "batch_run", "kind", "offset"):
                assert getattr(mine, name) == getattr(theirs, name)
            assert (mine.input_tokens, mine.output_tokens) == (None, None)
    history = store.query("SELECT DISTINCT row FROM history WHERE job = ?", (job,))
    assert all(row <= 20 for (row,) in history)


def test_a_store_of_before_opens_and_its_rows_share_nothing(tmp_path):
    from doubleword_batch.jobs.store import schema

    with pytest.MonkeyPatch.context() as patch:
        names = [name for name, _ in schema.MIGRATIONS]
        before = schema.MIGRATIONS[: names.index("2026-11-paid-once")]
        patch.setattr("doubleword_batch.jobs.store.database.MIGRATIONS", before)
        old = Store(tmp_path / "old")
        job = old.insert(
            "jobs", created_at=0, provider="p", base_url="b", endpoint="e", model="m",
            fingerprint="f", spec="{}", name="old",
        )  # fmt: skip
        with old.transaction() as db:
            db.execute(
                "INSERT INTO ledger (job, row, custom_id, part) VALUES (?, 1, 'r1', 1)", (job,)
            )
        old.close()
    now = Store(tmp_path / "old")
    ledger = Ledger(now, job)
    entry = ledger.entry(1)
    assert (entry.shares, entry.origin, ledger.origins(), ledger.shared()) == (
        None,
        None,
        [],
        0,
    )
    now.close()


def test_a_key_file_that_can_be_neither_written_nor_removed_says_that_it_was_not_written(tmp_path):
    keys = EqualRows(tmp_path, shares=True)
    key_file_path(tmp_path).mkdir()
    with pytest.raises(StoreError, match=r"keys\.bin") as caught:
        keys.write_keys(lambda *_: None)
    assert caught.value.code == "not_written"


def test_scratch_that_another_program_holds_open_keeps_no_job_from_being_made(
    tmp_path, monkeypatch
):
    def held(path, *, missing_ok=False):
        raise PermissionError(errno.EACCES, "another program has it open", str(path))

    monkeypatch.setattr(key_file, "_MOST_IN_MEMORY", 0)
    keys = EqualRows(tmp_path, shares=True)
    key = bytes(key_file.KEY_BYTES)
    keys.first_row(0, key)
    with monkeypatch.context() as changed:
        changed.setattr(Path, "unlink", held)
        keys.write_keys(lambda *_: None)
    with KeyFile(tmp_path) as found:
        assert list(found.rows_of([key])) == [(key, 0)]
