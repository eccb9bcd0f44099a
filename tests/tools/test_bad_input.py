"""What an agent reads when it passes something that cannot be used."""

import json

import pytest

from agent import agent
from doubleword_batch.settings import Settings

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}


async def refused(settings, tool="create_batch_file", **arguments):
    """The error reply of a call that must leave nothing behind."""
    async with agent(settings) as a:
        reply = await a.fails(tool, **arguments)
        listed = await a.calls("list")
    assert "lines" not in listed.fields, "a refused call must leave no job"
    assert reply["error"]["retryable"] is False
    return reply


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.csv", b"", "no_rows"),
        ("header.csv", b"id,text\n", "no row"),
        ("latin.csv", "id,text\n1,caf\u00e9\n".encode("latin-1"), "UTF-8"),
        ("utf16.csv", "id,text\n1,x\n".encode("utf-16-le"), "UTF-16"),
        ("ragged.csv", b"id,text\n1,a\n2,b,c\n", "row 2"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', "line 2"),
        ("list.jsonl", b'{"text": "a"}\n[1, 2]\n', "line 2"),
        ("none.json", b"[]", "no row"),
        ("page.xls", b"<html><table><tr><td>1</td></tr></table></html>", "web page or XML"),
        ("feed.xml", b"<?xml version='1.0'?><rss/>", "web page or XML"),
        ("table.parquet", b"PAR1" + bytes(40) + b"PAR1", "arquet"),
    ],
)
async def test_a_source_that_cannot_be_read_says_where_and_why(
    settings, work, name, content, expected
):
    (work / name).write_bytes(content)
    reply = await refused(settings, source=name, prompt="{{ text }}")
    assert expected.lower() in reply.text.lower()
    assert reply["error"]["hint"]


async def test_a_missing_file_is_named_with_the_folder_paths_start_at(settings, work):
    reply = await refused(settings, source="no-such.csv", prompt="{{ text }}")
    assert str(work / "no-such.csv") in reply.text
    assert f"relative paths start at {work}" in reply.text


@pytest.mark.posix("links")
@pytest.mark.parametrize("way", ["absolute", "dots", "link", "linked folder"])
async def test_a_path_outside_the_roots_is_refused_however_it_is_reached(
    settings, work, tmp_path, way
):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s.csv").write_text("text\nsecret-word\n", encoding="utf-8")
    (work / "link.csv").symlink_to(secret / "s.csv")
    (work / "linked").symlink_to(secret)
    source = {
        "absolute": str(secret / "s.csv"),
        "dots": "../secret/s.csv",
        "link": "link.csv",
        "linked folder": "linked",
    }[way]
    reply = await refused(settings, source=source, prompt="{{ text }}")
    assert reply["error"]["code"] == "outside_roots"
    assert "DOUBLEWORD_BATCH_ROOTS" in reply.text
    assert "secret-word" not in reply.text


async def test_an_unknown_column_is_named_with_the_columns_that_exist(settings, reviews):
    reply = await refused(settings, source="reviews.csv", prompt="{{ txt }}")
    assert "txt" in reply.text
    assert all(column in reply.text for column in ("id", "text", "stars"))


async def test_a_template_error_says_where(settings, reviews):
    reply = await refused(settings, source="reviews.csv", prompt="{% if text %}{{ text }}")
    assert reply["error"]["code"] == "invalid_template"
    assert "line 1" in reply["error"]["message"]


@pytest.mark.parametrize(
    "schema", ["{not json", {"type": "no-such-type"}, {"type": "array"}, "[1]", "gone.json"]
)
async def test_a_schema_that_is_not_a_schema_is_refused(settings, reviews, schema):
    reply = await refused(settings, **ORDER, response_schema=schema)
    assert reply["error"]["code"] in {
        "invalid_schema",
        "file_not_found",
        "invalid_argument",
    }


DEEP = '{"a":' * 2_000 + "1" + "}" * 2_000


async def test_a_schema_whose_text_is_nested_without_end_is_refused(settings, reviews):
    reply = await refused(settings, **ORDER, response_schema=DEEP)
    assert reply["error"]["code"] == "invalid_schema"
    assert "nested too deeply" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("argument", "name", "content", "code", "words"),
    [
        ("response_schema", "s.json", b" " * (1 << 20) + b"{}", "invalid_schema", "is too large"),
        ("response_schema", "s.json", b'{"title": "caf\xe9"}', "invalid_schema", "is not UTF-8"),
        ("response_schema", "s.json", b"[1]", "invalid_schema", "is not an object"),
        ("response_schema", "s.json", DEEP.encode(), "invalid_schema", "nested too deeply"),
        ("prompt", "p.txt", b"x" * (10 << 20) + b"x", "not_readable", "is too large"),
        ("prompt", "p.txt", b"caf\xe9 {{ text }}", "not_readable", "is not UTF-8"),
    ],
    ids=["large", "latin-1", "list", "deep", "large prompt", "latin-1 prompt"],
)
async def test_a_file_of_a_schema_or_a_prompt_that_cannot_be_used_says_why(
    settings, reviews, work, argument, name, content, code, words
):
    (work / name).write_bytes(content)
    reply = await refused(settings, **ORDER | {argument: name})
    assert reply["error"]["code"] == code
    assert words in reply["error"]["message"]
    assert reply["error"]["hint"]


@pytest.mark.parametrize("tool", ["create_batch_file", "fetch_results"])
async def test_an_output_path_whose_name_is_too_long_is_refused_before_any_work(
    settings, reviews, work, tool
):
    before = sorted(work.iterdir())
    async with agent(settings) as a:
        arguments = ORDER
        if tool == "fetch_results":
            arguments = {"job": (await a.runs_job(**ORDER))["job"]}
        reply = await a.fails(tool, **arguments, output_path="x" * 256 + ".jsonl")
    assert reply["error"]["code"] == "not_written"
    assert "too long" in reply["error"]["message"]
    assert sorted(work.iterdir()) == before


async def test_an_output_path_that_exists_is_left_alone(settings, reviews, work):
    (work / "mine.jsonl").write_text("precious", encoding="utf-8")
    reply = await refused(settings, **ORDER, output_path="mine.jsonl")
    assert (work / "mine.jsonl").read_text(encoding="utf-8") == "precious"
    assert reply["error"]["code"] == "output_exists"


async def test_results_of_another_job_are_replaced_only_when_asked(settings, reviews, work):
    async with agent(settings) as a:
        await a.runs_job(**ORDER, output_path="out.csv")
        kept = (work / "out.csv").read_bytes()
        other = await a.runs_job(**ORDER, limit=3)
        reply = await a.fails("fetch_results", job=other["job"], output_path="out.csv")
        still = (work / "out.csv").read_bytes()
        await a.calls("fetch_results", job=other["job"], output_path="out.csv", overwrite=True)
    assert "overwrite" in reply.text
    assert kept == still
    assert len((work / "out.csv").read_bytes()) < len(kept)


@pytest.mark.parametrize("tool", ["create_batch", "get_status", "fetch_results", "cancel"])
async def test_an_unknown_job_points_to_the_list(settings, reviews, tool):
    reply = await refused(settings, tool, job="no-such-job")
    assert reply["error"]["code"] == "unknown_job"
    assert reply["error"]["next"] == 'list(kind="jobs")'


@pytest.mark.parametrize("job", ["", "../etc", "a b", "x" * 600, "a\u00e9", "a/b"])
async def test_what_is_no_name_and_no_id_is_refused_without_asking_anybody(settings, reviews, job):
    reply = await refused(settings, "get_status", job=job)
    assert reply["error"]["code"] == "unknown_job"


async def test_both_or_neither_source_is_refused(settings, reviews):
    neither = await refused(settings, prompt="x")
    both = await refused(settings, **ORDER, rows=[{"a": 1}])
    assert "either source" in neither.text
    assert "either source" in both.text


async def test_a_bad_argument_is_refused_without_repeating_its_value(settings, reviews):
    reply = await refused(settings, **ORDER, limit="sk-secret")
    assert "limit" in reply.text
    assert "sk-secret" not in json.dumps(reply.fields) + reply.text


async def test_results_before_submission_say_what_to_call(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        reply = await a.fails("fetch_results", job=created["job"])
    assert reply["error"]["next"] == f'create_batch(job="{created["job"]}")'


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM results",
        "ATTACH 'x.db' AS x",
        "SELECT * FROM nowhere",
        "SELECT load_extension('x')",
        "PRAGMA table_info(results)",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        ";",
    ],
)
async def test_a_query_that_is_not_one_select_is_refused(settings, reviews, query):
    async with agent(settings) as a:
        results = await a.runs_job(**ORDER)
        reply = await a.fails("fetch_results", job=results["job"], query=query)
    assert reply["error"]["code"] == "invalid_query"
    assert "results" in reply["error"]["hint"]


async def test_a_retry_that_would_ask_another_model_or_prompt_is_refused(settings, reviews):
    async with agent(settings) as a:
        job = (await a.runs_job(**ORDER))["job"]
        reply = await a.fails("retry_failed", job=job, params={"model": "x", "messages": []})
    assert "params cannot change messages, model in a retry" in reply["error"]["message"]
    assert "Build a new job" in reply["error"]["hint"]


async def test_an_invalid_request_file_is_refused_with_the_first_of_each_kind(settings, work):
    lines = ['{"custom_id": "a"', json.dumps({"custom_id": "b", "method": "GET"}), ""]
    (work / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    reply = await refused(settings, "upload", path="mine.jsonl")
    assert "line 1" in reply.text
    assert "line 2" in reply.text
    assert "Nothing was uploaded" in reply.text


async def test_without_a_key_or_a_model_the_error_names_the_three_ways_out(environment, reviews):
    del environment["DOUBLEWORD_BATCH_LOCAL_EXECUTOR"]
    async with agent(Settings.from_environment(environment)) as a:
        reply = await a.fails("create_batch_file", **ORDER)
    assert reply["error"]["code"] == "no_model"
    for way in ("DOUBLEWORD_API_KEY", "doubleword-batch local pull", "DOUBLEWORD_BATCH_LOCAL_URL"):
        assert way in reply.text


async def test_an_upload_names_every_kind_of_fault_at_once_and_stays_small(settings, work):
    def line(**changes):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(request | changes)

    lines = [
        line(custom_id="x"),
        line(custom_id="x"),
        line(custom_id="b", body={"model": "m", "messages": "hi"}),
        line(custom_id="c", method="GET"),
        line(custom_id="d", body={"model": ""}),
        line(custom_id="e", url="/v1/poems"),
        line(custom_id="f", body={"model": "m", "messages": [{}], "stream": True}),
        line(custom_id="g" * 80),
        line(custom_id="h", body=[]),
        "{not json",
        "[]",
        *[line(custom_id="\u00e9") for _ in range(300)],
    ]
    (work / "bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    reply = await refused(settings, "upload", path="bad.jsonl")
    kinds = reply["error"]["details"]["kinds"]
    assert len(kinds) >= 11
    for kind in kinds:
        assert kind in reply["error"]["message"]
    assert "300 lines, the first is 12" in reply.text
    assert reply.size_bytes <= 2_048
