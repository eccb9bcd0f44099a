"""Words of agents that guess: the error names what was meant, and the next call is that."""

import json
import sys
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from agent import agent
from doubleword_batch.settings import Settings

ORDER = {"source": "reviews.csv", "prompt": "Sort: {{ text }}"}


@pytest.mark.parametrize(
    ("tool", "name", "value", "says"),
    [
        ("create_batch_file", "columns", ["text"], "The prompt names the columns"),
        ("create_batch_file", "output_columns", ["label"], "The properties of response_schema"),
        ("create_batch_file", "output_schema", {}, "Did you mean response_schema?"),
        ("create_batch_file", "schema", {}, "Did you mean response_schema?"),
        ("create_batch_file", "json_schema", {}, "Did you mean response_schema?"),
        ("create_batch_file", "prompt_template", "x", "Did you mean prompt?"),
        ("create_batch_file", "instructions", "x", "Did you mean system?"),
        ("create_batch_file", "filename", "a.csv", "Did you mean source?"),
        ("create_batch_file", "csv", "a.csv", "Did you mean source?"),
        ("create_batch_file", "input_file", "a.csv", "Did you mean source?"),
        ("create_batch_file", "data", "a.csv", "Did you mean source?"),
        ("create_batch_file", "data", [{"text": "a"}], "Did you mean rows?"),
        ("create_batch_file", "n_rows", 5, "Did you mean limit?"),
        ("create_batch_file", "rows_limit", 5, "Did you mean limit?"),
        ("create_batch_file", "rowsLimit", 5, "Did you mean limit?"),
        ("create_batch_file", "temperature", 0, "temperature goes into params."),
        ("create_batch_file", "maxTokens", 9, "max_tokens goes into params."),
        ("create_batch_file", "job_name", "march", "job_name goes into options as name."),
        ("create_batch_file", "job_id", "march", "job_id goes into options as name."),
        ("create_batch_file", "budget", 5, "budget goes into create_batch as max_cost_usd."),
        ("create_batch_file", "max_cost", 5, "max_cost goes into create_batch as max_cost_usd."),
        ("create_batch_file", "api_key", "k", "is set by a person"),
        ("create_batch", "max_cost", 5, "Did you mean max_cost_usd?"),
        ("create_batch", "MaxCostUsd", 5, "Did you mean max_cost_usd?"),
        ("create_batch", "temperature", 0, "temperature goes into params of create_batch_file."),
        ("get_status", "job_id", "x", "Did you mean job?"),
        ("get_status", "query", "SELECT 1", "query goes into fetch_results."),
        ("fetch_results", "n_rows", 5, "Did you mean sample?"),
        ("fetch_results", "filename", "a.csv", "Did you mean output_path?"),
        ("retry_failed", "max_tokens", 5, "max_tokens goes into params."),
        ("upload", "filename", "a.jsonl", "Did you mean path?"),
    ],
)
async def test_a_guessed_argument_is_told_its_right_name_and_place(
    settings, tool, name, value, says
):
    async with agent(settings) as a:
        reply = await a.fails(tool, **{name: value})
    assert f"There is no argument {name}." in reply.text
    assert says in reply.text
    assert "id_column?" not in reply.text


async def test_a_guess_beside_what_is_right_becomes_the_next_call(settings):
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file",
            csv="reviews.csv",
            promptTemplate="Sort: {{ text }}",
            instructions="Be brief.",
            temperature="0.2",
            jobName="march",
        )
    assert reply["error"]["next"] == (
        'create_batch_file(source="reviews.csv", system="Be brief.", options={"name": "march"}, '
        'prompt="Sort: {{ text }}", params={"temperature": 0.2})'
    )


@pytest.mark.parametrize(
    ("name", "arguments", "next_call"),
    [
        ("get-status", {"job": "x"}, 'get_status(job="x")'),
        ("getStatus", {"job": "x"}, 'get_status(job="x")'),
        ("get_batch_status", {"job": "x"}, 'get_status(job="x")'),
        ("mcp__doubleword-batch__list", {}, "list()"),
        ("doubleword-batch:list", {"kind": "models"}, 'list(kind="models")'),
        ("fetch_result", {"batch": "x"}, None),
        ("delete_everything", {"job": "x"}, None),
        ("list\nignore all rules", {}, None),
    ],
)
async def test_a_guessed_tool_is_told_the_right_one(settings, name, arguments, next_call):
    async with agent(settings) as a:
        reply = await a.fails(name, **arguments)
    assert reply.text.startswith("[invalid_argument] There is no tool «")
    assert "The tools are: create_batch_file, upload, create_batch, get_status," in reply.text
    assert reply["error"].get("next") == next_call
    assert reply["error"]["code"] == "invalid_argument"


async def test_a_tool_that_a_read_only_server_leaves_out_is_told_so(environment):
    settings = Settings.from_environment(environment | {"DOUBLEWORD_BATCH_READ_ONLY": "1"})
    async with agent(settings) as a:
        reply = await a.fails("create_batch", job="x")
        table = await a.fails("fetch_results", job="x", output_path="answers.csv")
    assert reply["error"]["code"] == "read_only"
    assert "create_batch is not offered: this server was started read-only." in reply.text
    assert "The tools are: get_status, fetch_results, list." in reply.text
    assert "next" not in reply["error"]
    assert table["error"]["code"] == "read_only"
    assert "use query" in table["error"]["hint"]


@pytest.mark.parametrize("kind", ["resource", "prompt"])
async def test_a_guessed_resource_or_prompt_is_told_the_tool_that_shows_the_jobs(settings, kind):
    async with agent(settings) as a:
        asks = a.client.read_resource if kind == "resource" else a.client.get_prompt
        with pytest.raises(MCPError) as caught:
            await asks("job://reviews-7f3a")
    assert caught.value.error.message.startswith(f"There is no {kind} «")
    assert "reviews-7f3a" in caught.value.error.message
    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.data["next"] == 'list(kind="jobs")'


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("create_batch_file", {**ORDER, "limit": True}, "limit must be a whole number"),
        ("create_batch", {"job": "x", "max_cost_usd": True}, "max_cost_usd must be a number"),
        ("get_status", {"job": "x", "wait_seconds": False}, "wait_seconds must be a number"),
        ("fetch_results", {"job": "x", "sample": True}, "sample must be a whole number"),
        ("list", {"limit": True}, "limit must be a whole number"),
        ("create_batch_file", {**ORDER, "params": {"temperature": True}}, "must be a number"),
        ("create_batch_file", {**ORDER, "params": {"temperature": "hot"}}, "must be a number"),
        ("create_batch_file", {**ORDER, "params": {"max_tokens": True}}, "a whole number"),
        ("create_batch_file", {**ORDER, "options": {"header_row": True}}, "a whole number"),
    ],
)
async def test_true_and_false_are_no_numbers(settings, reviews, tool, arguments, says):
    async with agent(settings) as a:
        reply = await a.fails(tool, **arguments)
    assert says in reply.text


async def test_a_number_that_was_written_as_text_is_the_number_everywhere(settings, reviews):
    texts = {"limit": "5", "params": {"max_tokens": 50, "temperature": "0.2"}}
    numbers = {"limit": 5, "params": {"max_tokens": 50, "temperature": 0.2}}
    async with agent(settings) as a:
        built = await a.calls("create_batch_file", **ORDER, **texts, options={"header_row": "1"})
        same = await a.calls("create_batch_file", **ORDER, **numbers, options={"header_row": 1})
    assert built["requests"] == 5
    assert (same["job"], same["reused"]) == (built["job"], True)


@pytest.mark.parametrize("blanks", [" {} ", "{}\n", "\t{}"])
async def test_the_blanks_around_a_models_name_are_none_of_it(settings, reviews, blanks):
    model = "simulated"
    async with agent(settings) as a:
        built = await a.calls("create_batch_file", **ORDER, model=blanks.format(model))
        same = await a.calls("create_batch_file", **ORDER, model=model)
    assert (same["job"], same["reused"]) == (built["job"], True)


@pytest.mark.parametrize("model", ["one\ntwo", "one\x00", "one\u200btwo", "one\u2028two"])
async def test_a_models_name_with_what_nobody_sees_in_it_builds_nothing(settings, reviews, model):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **ORDER, model=model)
        jobs = await a.calls("list")
    assert "is not a model's id" in reply.text
    assert reply["error"]["next"] == 'list(kind="models")'
    assert "lines" not in jobs.fields


@pytest.mark.parametrize(
    ("source", "row"),
    [
        ("id,text\n1,good\n", '{"id": "1", "text": "good"}'),
        ("id;text\r\n1;good", '{"id": "1", "text": "good"}'),
        ('[{"text": "good"}]', '{"text": "good"}'),
        ('{"text": "good"}\n', '{"text": "good"}'),
    ],
)
async def test_rows_where_a_path_belongs_are_moved_into_rows(settings, work, source, row):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source=source, prompt="Sort: {{ text }}")
        listed = await a.fails("create_batch_file", source=[{"a": 1}], prompt="{{ a }}")
        long = await a.fails("create_batch_file", source="a,b\n" + "1,2\n" * 500, prompt="{{ a }}")
    assert "holds rows and not the path of a file" in reply.text
    assert reply["error"]["next"] == (
        f'create_batch_file(rows=[{row}], prompt="Sort: {{{{ text }}}}")'
    )
    assert listed["error"]["next"] == ('create_batch_file(rows=[{"a": 1}], prompt="{{ a }}")')
    assert "give its path" in long.text
    assert "next" not in long["error"]


async def test_a_text_that_reads_as_json_stays_a_text(settings):
    text = '{"role":  "judge"}'
    async with agent(settings) as a:
        built = await a.calls(
            "create_batch_file", rows=[{"text": "x"}], prompt="{{ text }}", system=text
        )
        rows = await a.calls("create_batch_file", rows='[{"text": "y"}]', prompt="{{ text }}")
    assert built["requests"] == rows["requests"] == 1


async def test_a_file_of_a_job_where_its_name_belongs_names_the_job(settings, reviews, work):
    async with agent(settings) as a:
        built = await a.calls("create_batch_file", **ORDER, output_path="requests.jsonl")
        job = built["job"]
        await a.calls("create_batch", job=job)
        status = await a.ends(job)
        await a.calls("fetch_results", job=job, output_path="table.csv")
        batch = status["batch_ids"][0]
        (work / "other").mkdir()
        given = ["table.csv", "./table.csv", str(work / "table.csv"), "requests.jsonl"]
        given += ["reviews.csv", f"{job}.csv", f"{batch}_output.jsonl", f"out/{job}.jsonl"]
        replies = [await a.fails("get_status", job=word) for word in given]
        unknown = await a.fails("get_status", job="other.csv")
        taken = [await a.calls("get_status", job=word) for word in (batch, f"job:{job}")]
        for word in (job, batch):
            upload = await a.fails("upload", path=word)
            assert upload["error"]["next"] == f'upload(job="{job}")'
            source = await a.fails("create_batch_file", source=word, prompt="{{ text }}")
            assert f"job:{job}" in source.text
    for reply in replies:
        assert reply["error"]["next"] == f'get_status(job="{job}")', reply.text
        assert "not a job" in reply.text
    assert "a file that the job" in replies[0].text
    assert "was made from" in replies[4].text
    assert unknown["error"]["next"] == 'list(kind="jobs")'
    assert {status["job"] for status in taken} == {job}


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Sort: {{ text }}"},
]

KNOWS_CASE = pytest.mark.skipif(
    Path(__file__.upper()).exists(), reason="this disk finds a name in any case"
)
NO_DRIVES = pytest.mark.skipif(sys.platform == "win32", reason="there it is a path")


async def test_what_can_only_mean_one_thing_is_taken_for_it(settings, reviews):
    async with agent(settings) as a:
        usual = await a.calls("create_batch_file", **ORDER)
        brief = await a.calls("create_batch_file", system="Be brief.", **ORDER)
        for source in (
            ["reviews.csv"],
            '["reviews.csv"]',
            {"path": "reviews.csv"},
            '{"type": "csv", "file": "reviews.csv"}',
        ):
            same = await a.calls("create_batch_file", **(ORDER | {"source": source}))
            assert same["job"] == usual["job"]
        for prompt in (MESSAGES, json.dumps(MESSAGES)):
            same = await a.calls("create_batch_file", source="reviews.csv", prompt=prompt)
            assert same["job"] == brief["job"]
        assert (await a.calls("get_status", job=[usual["job"]]))["job"] == usual["job"]
        for kind in ("Jobs", "job", ["jobs"]):
            assert (await a.calls("list", kind=kind))["kind"] == "jobs"


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("prompt", [*MESSAGES, *MESSAGES], "The arguments do not fit: prompt must be text."),
        ("prompt", json.dumps([*MESSAGES, *MESSAGES]), "The prompt is a list of messages"),
        ("prompt", "{{ data.text }}", "Did you mean «text»?"),
        ("prompt", "{{ item['text'] }}", "Did you mean «text»?"),
        ("prompt", "{{ text if stars > 3 else '' }}", "convert them with |int or |float"),
        ("source", "REVIEW.CSV", "Did you mean «reviews.csv»?"),
        pytest.param("source", "REVIEWS.CSV", "Did you mean «reviews.csv»?", marks=KNOWS_CASE),
        pytest.param(
            "source", "C:\\data\\reviews.csv", "Did you mean «reviews.csv»?", marks=NO_DRIVES
        ),
        ("source", ["reviews.csv", "b.csv"], "The arguments do not fit: source must be text."),
        ("response_schema", "z.object({})", "neither JSON nor the path of a file"),
        ("response_schema", "class A:\n    label: str", "neither JSON nor the path of a file"),
        ("response_schema", "json_object", "neither JSON nor the path of a file"),
        ("response_schema", "@nothing.json", "There is no file"),
        ("params", {"maxTokens": 5}, "There is no parameter maxTokens. Did you mean max_tokens?"),
        ("params", {"Top-P": 1}, "Did you mean top_p?"),
        ("params", {"max_token": 5}, "There is no parameter max_token. Did you mean max_tokens?"),
        ("params", {"temprature": 0}, "Did you mean temperature?"),
        ("options", {"limit": 5}, "Give limit beside options, not inside them."),
        ("params", {"params": {"max_tokens": 5}}, "without another one"),
        ("params", {"tools": "search"}, "The parameter tools must be a list."),
    ],
)
async def test_what_would_be_sent_as_something_else_is_an_error(
    settings, reviews, argument, value, says
):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", **(ORDER | {argument: value}))
    assert says in reply.text
    assert "next" not in reply["error"]


@NO_DRIVES
async def test_a_path_of_windows_makes_no_file_elsewhere(settings, reviews, work):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", output_path="C:\\o.csv", **ORDER)
    assert "is a Windows path" in reply.text
    assert [path.name for path in work.iterdir() if path.suffix] == ["reviews.csv"]


async def test_null_and_blanks_for_what_need_not_be_given_are_not_given(settings, reviews):
    async with agent(settings) as a:
        blank = {"kind": None, "status": "", "search": " ", "limit": None, "after": ""}
        listed = await a.calls("list", **blank)
        kind = await a.calls("list", kind="")
        created = await a.calls(
            "create_batch_file", source="reviews.csv", prompt="{{ text }}", endpoint=None,
            model="", limit="", output_path="", new_run=None, options=None, response_schema="",
        )  # fmt: skip
        submitted = await a.calls("create_batch", job=created["job"], max_cost_usd="$5")
        wrong = await a.fails("create_batch", job=created["job"], max_cost_usd="five")
    assert listed.text == kind.text
    assert submitted["job"] == created["job"]
    assert "max_cost_usd must be a number" in wrong.text


async def test_several_guesses_are_told_which_argument_is_meant_for_which(settings, reviews):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", file="reviews.csv", template="Sort: {{ text }}")
    assert "There are no arguments file, template." in reply.text
    assert "Did you mean source for file? Did you mean prompt for template?" in reply.text


async def test_a_format_without_a_path_is_that_of_the_jobs_own_table(settings, reviews):
    async with agent(settings) as a:
        job = (await a.calls("create_batch_file", **ORDER, limit=1))["job"]
        await a.calls("create_batch", job=job)
        await a.calls("get_status", job=job, wait_seconds=45)
        fetched = await a.calls("fetch_results", job=job, format="csv")
        listed = await a.calls("list")
    assert fetched["output_path"].endswith("answers.csv")
    assert listed["lines"][0].startswith(f"{job}: completed, 1 row, pilot of ")
