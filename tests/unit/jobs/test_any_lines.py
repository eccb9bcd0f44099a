"""Whatever stands in a line, the rows beside it keep their answers, and everything can be read."""

import json
import math
import time
from random import Random

import pytest

from doubleword_batch.jobs.call_jobs import finished_rows
from doubleword_batch.jobs.export.query import query_table
from doubleword_batch.jobs.export.write_table import write_table
from doubleword_batch.jobs.store.records import ANSWERED
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.parse import answer_in, parse_line
from doubleword_batch.jobs.sync.response import response_in
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.models import Batch
from finished_job import chat, result_line
from result_lines import CASES
from skill.places import script_module

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}
SPECS = {
    "text": {"prompt": "p"},
    "schema": {"prompt": "p", "response_schema": SCHEMA},
    "tools and everything": {
        "prompt": "p",
        "params": {"tools": [{}], "n": 2, "logprobs": True, "modalities": ["audio"]},
    },
}
LINES = [case.line for case in CASES.values()]


@pytest.fixture(autouse=True)
def no_mistakes(caplog):
    """A mistake in reading costs no other line its answer, and is logged: there are none."""
    yield
    assert "could not be read" not in caplog.text


def for_row(row, line):
    return line.replace(b'"r1"', b'"r%d"' % row) + b"\n"


async def collected(finish, tmp_path, lines, **options):
    """A job whose odd rows have a good line and whose even ones have these."""
    rows = "".join(f"row {n}\n" for n in range(1, 2 * len(lines) + 1))
    (tmp_path / "t.csv").write_text("t\n" + rows)
    job = await finish("t.csv", chat("answer 0"), **options)
    store, files = job.ws.store, job.ws.client.files.content_of
    good = [result_line(2 * n + 1, chat(f"answer {n}")) for n in range(len(lines))]
    odd = [for_row(2 * n + 2, line) for n, line in enumerate(lines)]
    files["o2"] = b"".join(line for pair in zip(good, odd, strict=True) for line in pair)
    batch = {"id": "b2", "status": "completed", "output_file_id": "o2"}
    store.record_batch(job.job.id, store.parts(job.job.id)[0].id, Batch.model_validate(batch))
    await collect(job.job)
    await collect(job.job)  # a later fetch
    return job


def read_everywhere(job, tmp_path):
    """The table in every form, the query, the errors, and what single callers get."""
    table = job.table()
    for form in ("jsonl", "csv", "parquet"):
        write_table(table, tmp_path / f"out.{form}", form)
    for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)
    everything = ", ".join(f'count("{name}")' for name in table.columns)
    assert query_table(table, job.folder, f"SELECT {everything} FROM results").total == 1  # noqa: S608
    job.job.ledger.causes(1000)
    for finished in finished_rows(job.job, range(1, job.job.rows + 1)):
        response = response_in(finished.line) if finished.line is not None else None
        if response is not None and response.status < 400:
            json.loads(response.body)


def with_a_list_for_each_text(value):
    """The same value as often as it has texts, each time with one of them in a list."""
    if isinstance(value, str):
        yield [value]
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: new} for new in with_a_list_for_each_text(inner))
    elif isinstance(value, list):
        for at, inner in enumerate(value[:3]):
            for new in with_a_list_for_each_text(inner):
                yield [*value[:at], new, *value[at + 1 :]]


def test_a_list_in_the_place_of_any_word_costs_neither_reader_its_line():
    read_by_the_skill = script_module("answers").read_line
    values = [decode_or_none(line) for line in LINES if len(line) < 2_000]
    lines = {
        json.dumps(odd).encode() for value in values for odd in with_a_list_for_each_text(value)
    }
    assert len(lines) > 1_000
    for line in lines:
        ours, theirs = parse_line(line), read_by_the_skill(line)
        assert (ours is None) == (theirs is None), line
        if ours is not None:
            assert (ours.custom_id, ours.outcome) == (theirs.custom_id, theirs.outcome), line


@pytest.mark.parametrize("name", SPECS)
async def test_every_known_line_leaves_its_neighbours_alone_and_can_be_read(finish, tmp_path, name):
    job = await collected(finish, tmp_path, LINES, spec=SPECS[name])
    entries = list(job.job.ledger.entries())
    if name != "schema":
        assert {entry.outcome for entry in entries[::2]} == {"ok"}
        found = [(entry.outcome, entry.cause) for entry in entries[1::2]]
        assert found == [(case.outcome, case.cause) for case in CASES.values()]
    assert "pending" not in {entry.outcome for entry in entries}
    read_everywhere(job, tmp_path)


async def test_a_line_in_which_the_reader_makes_a_mistake_keeps_its_row_and_its_neighbours(
    finish, tmp_path, monkeypatch, caplog
):
    def mistaken(error):
        if error == "odd":
            raise TypeError("unhashable type: 'list'")

    lines = [b'{"custom_id": "r1", "response": {"body": {"choices": [1]}}, "error": "odd"}']
    monkeypatch.setattr("doubleword_batch.jobs.sync.result_line.error_in", mistaken)
    job = await collected(finish, tmp_path, lines)
    found = [(entry.outcome, entry.cause) for entry in job.job.ledger.entries()]
    assert found == [("ok", None), ("invalid", "unknown_body")]
    read_everywhere(job, tmp_path)
    assert '\\"choices\\": [1]' in (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "could not be read" in caplog.text
    caplog.clear()


async def test_every_known_line_can_be_read_as_an_embedding(finish, tmp_path):
    job = await collected(finish, tmp_path, LINES, endpoint="/v1/embeddings")
    read_everywhere(job, tmp_path)


OUTCOMES = (*ANSWERED, "pending", "failed", "expired", "cancelled")
NUMBERS = (0, -1, 200, 2**62, 2**63, 2**70, 0.5, 1e308, math.inf, -math.inf, math.nan)
TEXTS = ("", " ", "a", "length", "error", "stop", "200", '{"a":1}', "[", "\ud83d", "\0", "<think>")
NAMES = [
    *("custom_id", "response", "error", "status_code", "body", "choices", "message", "content"),
    *("text", "finish_reason", "usage", "prompt_tokens", "completion_tokens", "tool_calls"),
    *("function", "name", "arguments", "refusal", "output", "output_text", "type", "data"),
    *("embedding", "embeddings", "candidates", "parts", "stop_reason", "result", "status"),
    *("index", "logprobs", "audio", "code", "detail", "response_body", "label", "transcript"),
]
SHORT = [line for line in LINES if len(line) < 10_000]


def any_value(random, depth=4):
    kind = random.randrange(6 if depth else 4)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice(NUMBERS)
    if kind in {2, 3}:
        return random.choice(TEXTS)
    size = random.randrange(5)
    if kind == 4:
        return [any_value(random, depth - 1) for _ in range(size)]
    return {random.choice(NAMES): any_value(random, depth - 1) for _ in range(size)}


def any_line(random):
    """A known line with bytes lost and put in, or a part replaced by anything; or just anything."""
    line = random.choice(SHORT)
    way = random.randrange(5)
    if way == 0:
        begin = random.randrange(len(line))
        end = begin + random.randrange(30)
        put_in = random.choice((b"", b'"', b"{", b"\\", random.randbytes(4)))
        return (line[:begin] + put_in + line[end:]).replace(b"\n", b" ")
    if way == 4:
        return in_envelopes(random, any_value(random))
    if way == 1:
        body = {"status_code": 200, "body": any_value(random)}
        return json.dumps({"custom_id": "r1", "response": body}).encode()
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    spot = fields
    while spot and isinstance(spot, dict | list):
        key = random.choice(list(spot) if isinstance(spot, dict) else range(len(spot)))
        if key != "custom_id" and random.randrange(2):
            spot[key] = any_value(random)
            break
        spot = spot[key]
    return json.dumps(fields).encode()


ENVELOPES = (
    *("response", "result", "body", "data", "output", "completion", "payload", "batch_result"),
    *("responses", "results", "predictions", "value", "chat_get_completion", "Response", "item"),
)


def in_envelopes(random, value):
    """A line with the value inside up to five objects, lists, responses or texts of JSON."""
    for _ in range(random.randrange(6)):
        way = random.randrange(5)
        if way == 0 and not isinstance(value, list):
            value = [value]
        elif way == 1 and not isinstance(value, str):
            value = json.dumps(value)
        elif way == 2:
            value = {"status_code": random.choice((200, "200", 201)), "body": value}
        else:
            value = {random.choice(ENVELOPES): value, "id": random.choice(("x", 7, None))}
    return json.dumps({"custom_id": "r1", random.choice(ENVELOPES): value}).encode()


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_inside_any_envelopes_is_never_said_to_be_none(seed):
    read_by_the_skill = script_module("answers").read_line
    random = Random(seed)
    answer = chat("the answer")
    for _ in range(400):
        line = in_envelopes(random, answer)
        reading, theirs = parse_line(line), read_by_the_skill(line)
        assert reading.outcome in {"ok", "invalid"}, line
        assert "the answer" in answer_in(line).text, line
        assert (theirs.outcome, theirs.cause) == (reading.outcome, reading.cause or ""), line


@pytest.mark.parametrize("seed", range(8))
def test_any_line_is_read_the_same_way_by_both_readers_and_has_an_outcome(seed):
    read_by_the_skill = script_module("answers").read_line
    random = Random(seed)
    for _ in range(400):
        line = any_line(random)
        reading, theirs = parse_line(line), read_by_the_skill(line)
        told = reading and (reading.custom_id, reading.outcome, reading.cause or "")
        assert told == (theirs and (theirs.custom_id, theirs.outcome, theirs.cause)), line
        parsed = decode_or_none(line)
        if isinstance(parsed, dict) and parsed.get("custom_id") == "r1":
            assert reading is not None, line
        if reading is not None:
            assert reading.outcome in OUTCOMES
            reading.custom_id.encode()
            (reading.message or "").encode()
            (reading.cause or "").encode("ascii")
        answer_in(line)
        response = response_in(line)
        if response is not None and response.status < 400:
            json.loads(response.body)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPECS)
async def test_any_lines_leave_their_neighbours_alone_and_can_be_read(finish, tmp_path, name, seed):
    random = Random(seed)
    job = await collected(
        finish, tmp_path, [any_line(random) for _ in range(150)], spec=SPECS[name]
    )
    outcomes = [entry.outcome for entry in job.job.ledger.entries()]
    assert name == "schema" or set(outcomes[::2]) == {"ok"}
    assert "pending" not in outcomes
    read_everywhere(job, tmp_path)


HOSTILE = {
    "brackets": b"[" * (1 << 20),
    "brackets that close": b"[" * (1 << 19) + b"]" * (1 << 19),
    "backslashes": b'{"a":"' + b"\\\\" * (1 << 19) + b'"}',
    "halves of pairs": b'{"a":"' + rb"\ud83d" * (1 << 17) + b'"}',
    "digits": b'{"a":' + b"9" * (1 << 20) + b"}",
    "quotes": b'"' * (1 << 20),
    "thoughts": json.dumps({"custom_id": "r1", "body": {"text": "</think>" * (1 << 16)}}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_made_to_be_slow_is_not(name):
    before = time.process_time()
    parse_line(HOSTILE[name])
    assert time.process_time() - before < 10  # all take less than 2 s on the slowest machine
