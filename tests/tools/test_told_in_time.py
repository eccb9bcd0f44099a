"""What an agent needs to hear before it spends, or believes a table: it is said, in the reply."""

# ruff: noqa: S608  # names of jobs

import json

import pytest

from agent import agent
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings
from workbook import sheet, write_workbook

QUESTION = {"prompt": "{{ text }}"}


@pytest.mark.parametrize("source", ["invoices", "invoices/**/*.txt"])
async def test_a_job_of_many_files_is_called_after_their_folder(settings, work, source):
    for name in ("2026/late.txt", "a.txt", "b.txt"):
        path = work / "invoices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8", newline="")
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source=source, **QUESTION)
    assert created["job"].startswith("invoices-")


async def test_images_beside_texts_are_named_with_what_reads_them(settings, work):
    (work / "shots").mkdir()
    (work / "shots" / "readme.txt").write_text("the shots", encoding="utf-8", newline="")
    (work / "shots" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    async with agent(settings) as a:
        first = await a.calls("create_batch_file", source="shots", **QUESTION)
        again = await a.calls("create_batch_file", source="shots", **QUESTION)
    for created in (first, again):
        assert "1 .png. A glob such as '*.png' reads the images." in created["warnings"][0]


async def test_next_does_not_run_rows_again_that_somebody_stopped(settings, faulty, reviews, work):
    held = RequestFault(fault="hold", match=Match(every=3), until=str(work / "never"))
    failing = RequestFault(fault="error", match=Match(contains="Review 4,"), status=409)
    order = {"source": "reviews.csv", **QUESTION}
    with faulty(requests=[failing, held]):
        async with agent(settings) as a:
            job = (await a.calls("create_batch_file", **order))["job"]
            await a.calls("create_batch", job=job)
            for _ in range(60):
                if (await a.calls("get_status", job=job, wait_seconds=1))["counts"]["failed"]:
                    break
            await a.calls("cancel", job=job)
            stopped = await a.calls("fetch_results", job=job, wait_seconds=5)
    assert stopped["ledger"]["cancelled"]
    assert stopped["next"] == f'retry_failed(job="{job}", causes=["http_409"])'
    async with agent(settings) as a:  # whoever wants them says so
        await a.calls("retry_failed", job=job, causes=["http_409"])
        await a.ends(job)
        rest = await a.calls("fetch_results", job=job)
        assert "next" not in rest.fields
        wanted = await a.calls("retry_failed", job=job)
    assert wanted["causes"] == {"cancelled": rest["ledger"]["cancelled"]}


async def test_answers_that_are_not_whole_are_counted_where_they_become_a_source(
    settings, faulty, reviews
):
    cut = RequestFault(fault="truncated", match=Match(contains="Review 3"))
    refused = RequestFault(fault="refusal", match=Match(contains="Review 5,"))
    with faulty(requests=[cut, refused]):
        async with agent(settings) as a:
            done = await a.runs_job(source="reviews.csv", **QUESTION)
            whole = await a.calls(
                "create_batch_file", source=f"job:{done['job']}", prompt="{{ answer }}"
            )
            chosen = await a.calls(
                "create_batch_file",
                source=f"job:{done['job']}::SELECT answer FROM results WHERE outcome = 'ok'",
                prompt="{{ answer }}",
            )
    told = f"Of the 40 rows of job {done['job']}, 12 have no good answer (11 truncated, 1 refused)"
    assert told in " ".join(whole["warnings"])
    assert chosen["rows"] == 28
    assert "good answer" not in chosen.text


async def test_rows_that_are_blank_in_part_are_counted(settings, work):
    table = "text,brand\ngood,Acme\n ,Acme\n,\nbad,\n"
    (work / "t.csv").write_text(table, encoding="utf-8", newline="")
    async with agent(settings) as a:
        part = await a.calls(
            "create_batch_file", source="t.csv", prompt="{{ text }} by {{ brand }}"
        )
        expected = await a.calls(
            "create_batch_file",
            source="t.csv",
            prompt="{{ text }}{% if brand %} by {{ brand }}{% endif %}",
        )
    warnings = " ".join(part["warnings"])
    assert "1 row is blank in the columns" in warnings
    assert "1 row is blank in «text», which the prompt uses: sent without it." in warnings
    assert "1 row is blank in «brand»" in warnings
    assert "sent without" not in expected.text


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_header_below_a_title_is_found_by_the_name_that_is_missing(settings, work, kind):
    rows = [["Feedback 2026"], ["exported by", "Sam", "today"], [], ["No", "Comment", "Sum"]]
    rows += [[str(n), f"fine {n}", str(n)] for n in range(3)]
    if kind == "csv":
        text = "\n".join(";".join(row) for row in rows)
        (work / "f.csv").write_text(text, encoding="utf-8", newline="")
    else:
        write_workbook(work / "f.xlsx", {"Q3": sheet(*rows)})
    order = {"source": f"f.{kind}", "prompt": "{{ Comment }}"}
    async with agent(settings) as a:
        wrong = await a.fails("create_batch_file", **order)
        assert "It is on line 4" in wrong.text
        right = await a.calls("create_batch_file", **order, options={"header_row": 4})
    assert right["rows"] == 3


async def test_a_model_in_another_spelling_is_asked_for(environment, reviews):
    doubleword = {
        **environment,
        "DOUBLEWORD_API_KEY": "a-key-of-this-test",
        "DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1",
        "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
    }
    order = {"source": "reviews.csv", **QUESTION}
    async with agent(Settings.from_environment(doubleword)) as a:
        for wrong in ("qwen/qwen3-14b-fp8", "Qwen3-14B-FP8", "Qwen/Qwen3-14B"):
            created = await a.calls("create_batch_file", **order, model=wrong)
            assert created["cost_note"].endswith("did you mean Qwen/Qwen3-14B-FP8?")
        other = await a.calls("create_batch_file", **order, model="acme/own-model")
    assert "did you mean" not in other["cost_note"]


async def test_a_job_is_found_by_a_query_that_writes_its_name_otherwise(settings, reviews):
    async with agent(settings) as a:
        first = await a.runs_job(source="reviews.csv", **QUESTION, options={"name": "first-run"})
        read = "SELECT count(*) AS n FROM results r JOIN 'first-run' f ON f.id = r.id"
        quoted = await a.calls("fetch_results", job=first["job"], query=read)
        wrong = await a.fails("fetch_results", job=first["job"], query="SELECT 1 FROM first_run")
        bare = await a.fails("create_batch_file", source="first-run", prompt="{{ answer }}")
    assert quoted["query"]["rows"] == [[40]]
    assert 'Did you mean "first-run"?' in wrong.text
    assert "Its answers are the source job:first-run." in bare.text


async def test_errors_speak_of_what_fits(settings, reviews):
    async with agent(settings) as a:
        done = await a.runs_job(source="reviews.csv", **QUESTION)
        many = await a.fails("list", limit=100)
        few = await a.fails("fetch_results", job=done["job"], sample=-1)
        order = {"source": "reviews.csv", **QUESTION}
        python = await a.fails("create_batch_file", **order, response_schema="{'a': None}")
        row = await a.fails("create_batch_file", **order, options={"header_row": "one"})
        fine = await a.fails("retry_failed", job=done["job"])
    assert "limit must be at most 50." in many.text
    assert "sample must be at least 0." in few.text
    assert "JSON has double quotes, and true, false and null." in python.text
    assert row.text.endswith("The option header_row must be a whole number, at least 0.")
    assert fine["error"]["next"] == f'fetch_results(job="{done["job"]}")'
    assert json.dumps(fine["error"]).count("none") == 0
