"""Request files: the right bodies, whole or not at all, every row accounted for."""

import hashlib
import json
import os
import stat
from itertools import pairwise

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.providers import profile
from doubleword_batch.requests import (
    build_request_files,
    validate_request_file,
)
from unit.requests.conftest import first_request, lines_of, spec

CHAT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/embeddings", "/v1/responses"
STRICT = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


def test_a_chat_request_carries_system_prompt_params_and_strict_schema(table, build):
    asked = spec(
        system="You rate {{ id }}.",
        response_schema=STRICT,
        params={"temperature": 0, "tools": [{"type": "function", "function": {"name": "é"}}]},
        id_column="id",
    )
    built = build(table(), asked)
    assert first_request(built) == {
        "custom_id": "r1-A-1",
        "method": "POST",
        "url": CHAT,
        "body": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "You rate Ä 1."},
                {"role": "user", "content": "Rate grüße 1"},
            ],
            "temperature": 0,
            "tools": [{"type": "function", "function": {"name": "é"}}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": STRICT, "strict": True},
            },
        },
    }
    assert built.warnings == ()
    assert "grüße" in built.files[0].path.read_text(encoding="utf-8")


def test_a_responses_request_carries_input_instructions_and_text_format(table, build):
    built = build(table(), spec(endpoint=RESPONSES, system="Be brief.", response_schema=STRICT))
    assert first_request(built)["url"] == RESPONSES
    assert first_request(built)["body"] == {
        "model": "m",
        "instructions": "Be brief.",
        "input": "Rate grüße 1",
        "text": {
            "format": {"type": "json_schema", "name": "answer", "schema": STRICT, "strict": True}
        },
    }


def test_an_embeddings_request_carries_the_text_and_costs_no_output(table, build):
    built = build(table(), spec(endpoint=EMBEDDINGS, prompt="{{ text }}", params={"dimensions": 8}))
    assert first_request(built)["body"] == {"model": "m", "input": "grüße 1", "dimensions": 8}
    assert built.output_tokens == 0


def test_what_is_built_passes_the_check(table, build, doubleword):
    for endpoint in (CHAT, EMBEDDINGS, RESPONSES):
        built = build(table(50), spec(endpoint=endpoint))
        report = validate_request_file(built.files[0].path, doubleword)
        assert report.ok
        assert report.groups == ()
        assert (report.endpoint, report.models, report.requests) == (endpoint, ("m",), 50)


def test_a_job_is_split_at_the_requests_a_file_may_hold(table, build):
    rows = []
    built = build(table(2500), limits={"max_requests": 1000}, on_rows=rows.extend)
    assert [file.requests for file in built.files] == [1000, 1000, 500]
    assert [file.path.name for file in built.files] == [f"part-000{n}.jsonl" for n in (1, 2, 3)]
    ends = [(lines[0]["custom_id"], lines[-1]["custom_id"]) for lines in map(lines_of, built.files)]
    assert [file.number for file in built.files] == [1, 2, 3]
    assert ends == [("r1", "r1000"), ("r1001", "r2000"), ("r2001", "r2500")]
    assert rows == [(row, f"r{row}", (row - 1) // 1000 + 1) for row in range(1, 2501)]
    for file in built.files:
        content = file.path.read_bytes()
        assert len(content) == file.size_bytes
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600 or os.name == "nt"


def test_a_job_is_split_at_the_bytes_a_file_may_hold_and_fills_each(table, build):
    built = build(table(300), limits={"max_file_bytes": 5000})
    assert sum(file.requests for file in built.files) == 300
    for file, following in pairwise(built.files):
        next_line = following.path.read_bytes().splitlines(keepends=True)[0]
        assert file.size_bytes <= 5000 < file.size_bytes + len(next_line)


def test_embeddings_are_split_at_the_inputs_a_file_may_hold(table, build):
    limits = {"max_embedding_inputs": 2}
    assert len(build(table(5), spec(endpoint=EMBEDDINGS), limits=limits).files) == 3
    assert len(build(table(5), limits=limits).files) == 1


def test_groups_of_rows_and_progress_come_in_thousands(table, build):
    groups, progress = [], []
    build(table(2100), on_rows=lambda g: groups.append(len(g)), on_progress=progress.append)
    assert groups == [1000, 1000, 100]
    assert progress == [1000, 2000, 2100]


def test_a_row_too_large_for_the_provider_is_skipped_and_reported(source, build):
    texts = ["short", "x" * 5000, "fine"] + ["y" * 5000] * 30
    table = source("t.jsonl", "\n".join(json.dumps({"text": text}) for text in texts))
    for prompt in ("Rate {{ text }}", "Rate {{ text|trim }}", "{{ text[:900] }}{{ text[:900] }}"):
        rows = []
        limits = {"max_request_bytes": 1000}
        built = build(table, spec(prompt=prompt), limits=limits, on_rows=rows.extend)
        assert [row for row, _, _ in rows] == [1, 3]
        assert (built.rows, built.requests) == (33, 2)
        assert built.left_out_causes == {"too_large": 31}
        assert len(built.left_out) == 20
        assert built.left_out[0].row == 2
        assert "1000" in built.left_out[0].message
        assert lines_of(built.files[0])[-1]["custom_id"] == "r3"


@pytest.mark.parametrize(
    ("prompt", "blank"),
    [
        ("Rate {{ text }}", [2, 3, 4]),
        ("Rate {{ text|trim }}", [2, 3, 4]),
        ("Rate {{ text }} of {{ stars }}", [3]),
        ("Rate {{ row.text }}", [2, 3, 4]),
        ("Rate {{ row }}", []),
    ],
)
def test_rows_that_are_blank_where_the_prompt_looks_are_skipped(source, build, prompt, blank):
    values = [("good", 1, 7), ("", 2, 7), (" \n\u00a0\u200b", None, 7), (None, 0, 7)]
    lines = [json.dumps(dict(zip(("text", "stars", "n"), row, strict=True))) for row in values]
    left_out = []
    built = build(
        source("t.jsonl", "\n".join(lines)), spec(prompt=prompt), on_left_out=left_out.extend
    )
    assert [(row, outcome, cause) for row, outcome, cause, _ in left_out] == [
        (row, "skipped", "blank") for row in blank
    ]
    assert built.requests == 4 - len(blank)
    assert built.left_out_causes == ({"blank": len(blank)} if blank else {})
    assert (
        build(source("t.jsonl", "\n".join(lines)), spec(prompt=prompt, blanks="send")).requests == 4
    )


def test_a_source_of_blank_rows_only_is_refused(source, build):
    with pytest.raises(InputError, match="All 2 rows are blank") as refused:
        build(source("t.jsonl", '{"text": ""}\n{"text": null}'))
    assert refused.value.code == "no_rows"


def test_the_first_ten_bad_rows_are_told_together(source, build, tmp_path):
    rows = [{"text": "a"}, {"other": 1}, {"text": "b"}] + [{"other": 2}] * 20
    table = source("t.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="The first 10 bad rows") as refused:
        build(table, spec(blanks="send"))
    assert refused.value.code == "missing_value"
    assert [bad["row"] for bad in refused.value.details["rows"]] == [2, *range(4, 13)]
    assert "on_bad_row" in refused.value.hint
    assert list((tmp_path / "job").iterdir()) == []


def test_bad_rows_can_be_left_out_as_failed_rows_with_their_kind(source, build):
    rows = [{"text": "a"}, {"other": 1}, {"text": "b"}]
    table = source("t.jsonl", "\n".join(map(json.dumps, rows)))
    built = build(table, spec(blanks="send", on_bad_row="skip"))
    assert [line["custom_id"] for line in lines_of(built.files[0])] == ["r1", "r3"]
    assert [tuple(left)[:3] for left in built.left_out] == [(2, "failed", "missing_value")]


def test_the_limit_of_a_request_counts_bytes_and_not_letters(source, build):
    table = source("t.jsonl", json.dumps({"text": "é" * 600}) + '\n{"text":"fine"}')
    built = build(table, limits={"max_request_bytes": 1000})
    assert [left.row for left in built.left_out] == [1]


def test_a_job_of_skipped_rows_only_is_refused(table, build, tmp_path):
    with pytest.raises(InputError, match="None of the 3 rows") as refused:
        build(table(text="x" * 500), limits={"max_request_bytes": 100})
    assert refused.value.code == "request_too_large"
    assert list((tmp_path / "job").iterdir()) == []


def test_a_pilot_reads_the_first_rows_only(source, build):
    table = source("t.jsonl", '{"text":"a"}\n' * 1000 + "broken\n")
    pilot = build(table, limit=2)
    assert (pilot.rows, pilot.source_rows) == (2, None)
    assert "Line 1001" in pilot.warnings[0]
    with pytest.raises(InputError, match="limit is 0"):
        build(table, limit=0)


def test_a_row_without_the_column_is_named(source, build):
    table = source("t.jsonl", '{"text":"a"}\n{"other":1}\n')
    with pytest.raises(InputError, match=r"Row 2: .*text") as refused:
        build(table)
    assert refused.value.details["row"] == 2


def test_estimates_follow_the_documented_rules(table, build):
    built = build(table(100))
    bodies = sum(
        len(json.dumps(line["body"], ensure_ascii=False, separators=(",", ":")).encode())
        for line in lines_of(built.files[0])
    )
    assert built.input_tokens == bodies // 4
    assert built.output_tokens == int(built.input_tokens * 1.1)
    long = build(table(3, text="x" * 50_000))
    assert long.output_tokens == 3 * 1024
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        assert build(table(100), spec(params={name: 7})).output_tokens == 700
    assert build(table(100), spec(params={"max_tokens": 7, "n": 2})).output_tokens == 1400


def test_a_prompt_without_a_column_is_for_one_row(table, build):
    with pytest.raises(InputError, match="ask the same of every row"):
        build(table(), spec(prompt="Say hi"))
    assert build(table(), spec(prompt="Say hi"), limit=1).warnings == (
        "The prompt uses no column.",
    )
    assert build(table(), spec(prompt="Rate it", system="It is {{ text }}")).warnings == ()


def test_a_schema_that_is_not_strict_is_sent_as_it_is_and_warned_about(table, build):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {}}}},
        "required": ["a"],
        "additionalProperties": False,
    }
    built = build(table(), spec(response_schema=schema))
    sent = first_request(built)["body"]["response_format"]["json_schema"]["schema"]
    assert sent == schema
    assert "«$.properties.a.items»" in built.warnings[0]
    optional = STRICT | {"required": []}
    assert "«$»" in build(table(), spec(response_schema=optional)).warnings[0]


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "$.properties.a.type"),
        ({"type": "array", "items": {}}, "«$»"),
        ({"type": "object", "required": "a"}, "$.required"),
        ({}, "«$»"),
        (["type", "object"], "«$»"),
    ],
)
def test_what_is_not_an_object_schema_is_refused_with_the_place(table, build, schema, place):
    with pytest.raises(InputError) as refused:
        build(table(), spec(response_schema=schema))
    assert refused.value.code == "invalid_schema"
    assert place in refused.value.message


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"endpoint": "/v1/moderations"}, "invalid_argument", "/v1/moderations"),
        ({"model": " "}, "invalid_argument", "model"),
        ({"prompt": ""}, "invalid_template", "prompt is empty"),
        ({"prompt": "{{ nothing }}"}, "unknown_column", "nothing"),
        ({"system": "{{ nothing }}"}, "unknown_column", "nothing"),
        ({"system": ""}, "invalid_template", "system prompt is empty"),
        ({"id_column": "nothing"}, "unknown_column", "id_column"),
        ({"endpoint": EMBEDDINGS, "system": "x"}, "invalid_argument", "embedding"),
        ({"endpoint": EMBEDDINGS, "response_schema": STRICT}, "invalid_argument", "embedding"),
        ({"params": {"model": "x"}}, "invalid_argument", "model"),
        ({"params": {"messages": []}}, "invalid_argument", "messages"),
        ({"params": {"input": "x"}}, "invalid_argument", "input"),
        ({"params": {"instructions": "x"}, "system": "y"}, "invalid_argument", "instructions"),
        (
            {"params": {"response_format": {}}, "response_schema": STRICT},
            "invalid_argument",
            "response_format",
        ),
        ({"params": {"stream": True}}, "invalid_argument", "stream"),
        ({"params": {"temperature": float("nan")}}, "invalid_argument", "temperature"),
        ({"params": {"tools": [{"x": float("inf")}]}}, "invalid_argument", "tools"),
        ({"params": {"x": object()}}, "invalid_argument", "'x'"),
    ],
)
def test_a_spec_that_is_wrong_for_every_row_is_refused_before_a_row_is_read(
    source, build, tmp_path, changes, code, named
):
    table = source("t.jsonl", '{"text":"a"}\n' * 1000 + "broken\n")
    with pytest.raises(InputError) as refused:
        build(table, spec(**changes))
    assert refused.value.code == code
    assert named in refused.value.message
    assert refused.value.hint
    assert not list(tmp_path.glob("job/*"))


def test_a_row_that_makes_infinity_is_refused_with_its_number(source, build):
    table = source("t.jsonl", '{"n":1}\n{"n":1e308}\n')
    with pytest.raises(InputError, match=r"Row 2: .*Infinity"):
        build(table, spec(prompt="{{ n * 10 }}"))


def test_every_profile_builds_for_each_of_its_endpoints(table, tmp_path):
    for name in ("doubleword", "openai", "local", "generic"):
        for endpoint in profile(name).endpoints:
            built = build_request_files(
                table(), spec(endpoint=endpoint), profile(name), tmp_path / name
            )
            assert built.requests == 3
