"""Calls that are nearly right: what was meant is done, or is the next call."""

import pytest

from agent import agent

ORDER = {"source": "reviews.csv", "prompt": "Sort: {{ text }}"}


async def test_a_cancel_that_is_repeated_or_late_is_not_an_error(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        unsent = await a.calls("cancel", job=created["job"])
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        late = await a.calls("cancel", job=created["job"])
        again = await a.calls("cancel", job=created["job"])
    assert unsent["note"] == "Nothing was running: it is built and was never submitted."
    assert late["note"] == again["note"] == "Nothing was running: it was completed already."
    assert (late["stopped"], late["finished"]) == (0, 40)
    assert late["next"] == f'fetch_results(job="{created["job"]}")'


async def test_a_wait_of_any_length_is_taken(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **ORDER)
        await a.calls("create_batch", job=created["job"])
        status = await a.calls("get_status", job=created["job"], wait_seconds=3600.5)
        results = await a.calls("fetch_results", job=created["job"], wait_seconds=46)
        below = await a.fails("get_status", job=created["job"], wait_seconds=-1)
    assert status["complete"]
    assert results["complete"]
    assert "at least 0" in below.text


@pytest.mark.parametrize(
    "causes", ["truncated", "truncated, http_500", '["truncated"]', ["truncated"]]
)
async def test_causes_may_be_one_text(settings, reviews, causes):
    async with agent(settings) as a:
        job = (await a.runs_job(**ORDER))["job"]
        reply = await a.fails("retry_failed", job=job, causes=causes)
    assert "No row of job" in reply.text
    assert " matches truncated" in reply.text


async def test_an_argument_in_the_wrong_place_is_put_into_the_right_one(settings, reviews):
    async with agent(settings) as a:
        reply = await a.fails(
            "create_batch_file", **ORDER, max_tokens=50, encoding="utf-8", params={"seed": 1}
        )
        unknown = await a.fails("create_batch_file", **ORDER, frobnicate=1)
        spelt = await a.fails("create_batch", job="x", window="1h")
    assert "max_tokens goes into params." in reply.text
    assert "encoding goes into options." in reply.text
    assert reply["error"]["next"] == (
        'create_batch_file(source="reviews.csv", prompt="Sort: {{ text }}", '
        'params={"seed": 1, "max_tokens": 50}, options={"encoding": "utf-8"})'
    )
    assert "The arguments are: prompt, source" in unknown.text
    assert "next" not in unknown["error"]
    assert spelt["error"]["next"] == 'create_batch(job="x", completion_window="1h")'


@pytest.mark.parametrize(
    "source", ["https://example.com/a.csv", "s3://bucket/a.csv", "hf://datasets/x", "file:///a.csv"]
)
async def test_a_url_as_the_source_says_that_it_is_one(settings, source):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source=source, prompt="{{ text }}")
    assert "is a URL; a source is a file or folder on this machine" in reply.text


@pytest.mark.parametrize("given", ["@prompts/sort.txt", "prompts/sort.txt"])
async def test_a_prompt_may_lie_in_a_file(settings, reviews, work, given):
    (work / "prompts").mkdir()
    (work / "prompts" / "sort.txt").write_text("Sort:\n{{ text }}\n", encoding="utf-8")
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source="reviews.csv", prompt=given)
        same = await a.calls(
            "create_batch_file", source="reviews.csv", prompt="Sort:\n{{ text }}", system=given
        )
    assert created["first_request"].startswith("Sort:\nReview 0")
    assert "The prompt was read from «sort.txt»." in created["warnings"]
    assert "The system prompt was read from «sort.txt»." in same["warnings"]


@pytest.mark.parametrize("given", ["@nothing.txt", "nothing.md", "@../../etc/passwd", "@.env"])
async def test_a_prompts_file_that_may_not_be_read_is_an_error(settings, reviews, work, given):
    (work / ".env").write_text("SECRET {{ text }}")
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source="reviews.csv", prompt=given)
    assert reply["error"]["code"] in {"file_not_found", "outside_roots", "hidden"}
    assert "SECRET" not in reply.text


async def test_a_prompt_with_an_at_sign_is_a_prompt(settings, reviews):
    async with agent(settings) as a:
        for prompt, text in (
            ("@bot, sort {{ text }}", "@bot, sort Review 0"),
            ("@@bot {{ text }}", "@bot Review 0"),
        ):
            created = await a.calls(
                "create_batch_file", source="reviews.csv", prompt=prompt, limit=1
            )
            assert created["first_request"].startswith(text)


@pytest.mark.parametrize(
    ("prompt", "hint"),
    [
        ("Sort this: {text}", "Write {{ text }} for {text}"),
        ("Sort this: { text }", "Write {{ text }} for { text }"),
        ("Sort this: ${text}", "Write {{ text }} for ${text}"),
        ("Sort this: $text", "Write {{ text }} for $text"),
        ("Sort this: <text>", "Write {{ text }} for <text>"),
        ("Sort this: %(text)s", "Write {{ text }} for %(text)s"),
        ("Sort the review", "Write {{ column }} where a row's value belongs. The columns are «id»"),
    ],
)
async def test_a_prompt_without_a_column_is_an_error_over_several_rows(
    settings, reviews, prompt, hint
):
    async with agent(settings) as a:
        reply = await a.fails("create_batch_file", source="reviews.csv", prompt=prompt)
        built = await a.calls("create_batch_file", rows=[{"text": "x"}], prompt=prompt)
    assert "so it would ask the same of every row" in reply.text
    assert hint in reply.text
    assert built["requests"] == 1


async def test_a_column_in_single_braces_is_said_where_others_are_used(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls(
            "create_batch_file", source="reviews.csv", prompt="{{ text }} has {stars} stars"
        )
    assert created["warnings"] == [
        "The prompt holds {stars} as plain text; {{ stars }} inserts the value."
    ]


async def test_a_misspelt_file_gets_its_neighbour(settings, reviews, work):
    (work / ".reviewz.csv").write_text("secret", encoding="utf-8")
    async with agent(settings) as a:
        for wrong in ("review.csv", "reviews", "reviews.tsv"):
            reply = await a.fails("create_batch_file", source=wrong, prompt="{{ text }}")
            assert "Did you mean «reviews.csv»?" in reply.text
        outside = await a.fails("create_batch_file", source="../hom", prompt="{{ text }}")
        table = await a.fails("upload", path="reviews.csv")
    assert "Did you mean" not in outside.text
    assert "is a table and not a request file" in table.text


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("create_batch_file", {"source": "reviews.csv"}, "prompt is missing"),
        ("create_batch_file", {**ORDER, "response_schema": [1]}, "must be an object or text"),
        ("create_batch_file", {**ORDER, "params": "max_tokens"}, "params must be an object"),
        ("create_batch_file", {"rows": ["a"], "prompt": "x"}, "rows.0 must be an object"),
        ("create_batch", {"job": "x", "metadata": {"n": 7}}, "metadata.n must be text"),
        ("list", {"kind": "answers"}, "kind must be 'jobs', 'batches', 'files' or 'models'"),
        ("list", {"limit": "many"}, "limit must be a whole number"),
        ("create_batch_file", {"prompt": "{{ a }}"}, "Give the rows: either source"),
    ],
)
async def test_arguments_that_do_not_fit_are_named_in_plain_words(
    settings, reviews, tool, arguments, says
):
    async with agent(settings) as a:
        reply = await a.fails(tool, **arguments)
    assert says in reply.text
    assert "dictionary" not in reply.text


async def test_a_query_that_failed_is_not_named_again(settings, reviews):
    async with agent(settings) as a:
        job = (await a.runs_job(**ORDER))["job"]
        for query in ("SELECT * FROM rows", "How many?", "SELECT x FROM results"):
            reply = await a.fails("fetch_results", job=job, query=query)
            look = 'query="SELECT * FROM results LIMIT 3")'
            assert reply["error"]["next"] == f'fetch_results(job="{job}", {look}'
        near = await a.fails("fetch_results", job=job, query="SELECT answr FROM results")
    assert near["error"]["next"].endswith('query="SELECT answer FROM results")')
