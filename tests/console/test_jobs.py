"""Jobs over HTTP: retries, adopted batches, cancelled ones, and what open pages are told."""

import json
import re
from time import monotonic
from types import SimpleNamespace

import anyio
import pytest

from doubleword_batch import Jobs
from doubleword_batch.jobs.find import find_job
from doubleword_batch.library.views import JobViews
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from running_console import SCHEMA, WAIT_SECONDS, ended, finish, running, settings_of, write_reviews


def test_a_price_that_is_not_what_the_button_said_submits_nothing(console, browser, tmp_path):
    async def build():
        async with Jobs(settings_of(console.home)) as jobs:
            source = write_reviews(tmp_path, 4)
            return (await jobs.create(str(source), prompt="At {{ review }}")).name

    job = anyio.run(build)
    refused = console.post(browser, f"/jobs/{job}/submit", quote="$0.01", window="24h")
    assert refused.status_code == 400
    assert "The price is now $0, but the button said $0.01" in refused.text
    assert "Ready to be submitted" in browser.get(f"/jobs/{job}").text


def test_rows_that_were_cut_are_run_again_with_a_larger_limit(console, browser, tmp_path):
    job = anyio.run(
        lambda: finish(
            console.home,
            write_reviews(tmp_path, 6),
            prompt="Tell me of {{ review }}",
            params={"max_tokens": 2},
        )
    )
    failures = browser.get(f"/jobs/{job}/failures").text
    assert "retry these rows with a larger max_tokens" in failures
    assert 'name="value" value="8"' in failures
    told = failures.partition('name="told" value="')[2].partition('"')[0]
    deep = {"param": "max_tokens", "value": "[" * 100_000}
    refused = console.post(browser, f"/jobs/{job}/retry", cause="length", told=told, **deep)
    assert refused.status_code == 400
    assert "bug" not in refused.text
    changed = {"param": "max_tokens", "value": "4000"}
    retried = console.post(browser, f"/jobs/{job}/retry", cause="length", told=told, **changed)
    assert retried.status_code == 303
    until = monotonic() + WAIT_SECONDS
    while "Every row that was sent has a good answer" not in failures:
        assert monotonic() < until
        failures = browser.get(f"/jobs/{job}/failures").text
    row = browser.get(f"/jobs/{job}/rows/1").text
    assert "replaced by a later attempt" in row


def test_a_batch_made_elsewhere_is_adopted_and_read(console, browser, tmp_path):
    async def make():
        async with Jobs(settings_of(console.home)) as jobs:
            ws = await jobs.workspace()
            body = {"model": "simulated-chat", "messages": [{"role": "user", "content": "hi"}]}
            line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
            path = tmp_path / "batch.jsonl"
            path.write_text(json.dumps(line) + "\n", encoding="utf-8")
            file = await ws.client.files.upload(path)
            return (
                await ws.client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
            ).id

    batch = anyio.run(make)
    assert batch in browser.get("/provider").text
    adopted = console.post(browser, "/provider/adopt", id=batch)
    job = adopted.headers["location"].rpartition("/")[2]
    ended(browser, job)
    assert "[simulated]" in browser.get(f"/jobs/{job}/answers").text
    assert batch not in browser.get("/provider").text


def test_many_batches_made_elsewhere_do_not_hide_the_files_made_there(
    console, browser, tmp_path, monkeypatch
):
    monkeypatch.setattr("doubleword_batch.jobs.views.remote._MOST_SHOWN", 2)

    async def make():
        async with Jobs(settings_of(console.home)) as jobs:
            client = (await jobs.workspace()).client
            made, url = [], "/v1/chat/completions"
            body = {"model": "simulated-chat", "messages": [{"role": "user", "content": "hi"}]}
            for number in range(4):
                line = {"custom_id": f"file {number}", "method": "POST", "url": url, "body": body}
                path = tmp_path / f"{number}.jsonl"
                path.write_text(json.dumps(line) + "\n", encoding="utf-8")
                file = (await client.files.upload(path)).id
                batch = number % 2 and await client.batches.create(
                    input_file_id=file, endpoint=url, completion_window="24h"
                )
                made.append(batch.id if batch else file)
            return made

    made = anyio.run(make)
    page = browser.get("/provider").text
    assert [name for name in made if name not in page] == []
    for batch in made[1::2]:
        console.post(browser, "/provider/adopt", id=batch)


def test_what_ended_before_it_was_adopted_is_read_while_a_page_is_open(
    console, browser, tmp_path, monkeypatch
):
    monkeypatch.setattr("doubleword_batch.console.live._LOOK_SECONDS", 0.05)

    async def make():
        async with Jobs(settings_of(console.home)) as jobs:
            ws = await jobs.workspace()
            body = {"model": "simulated-chat", "messages": [{"role": "user", "content": "ho"}]}
            line = {"custom_id": "b", "method": "POST", "url": "/v1/chat/completions", "body": body}
            path = tmp_path / "batch.jsonl"
            path.write_text(json.dumps(line) + "\n", encoding="utf-8", newline="\n")
            file = await ws.client.files.upload(path)
            batch = await ws.client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            with anyio.fail_after(WAIT_SECONDS):
                while batch.status != "completed":
                    await anyio.sleep(0.05)
                    batch = await ws.client.batches.get(batch.id)
            return batch.id

    adopted = console.post(browser, "/provider/adopt", id=anyio.run(make)).headers["location"]
    assert "1 ok" not in browser.get(adopted).text
    until = monotonic() + WAIT_SECONDS
    with browser.stream("GET", "/events", timeout=WAIT_SECONDS):
        while "1 ok" not in (page := browser.get(adopted).text):
            assert monotonic() < until, page


def test_a_job_that_is_not_there_is_a_page_with_a_way_back(browser):
    for path in ("/jobs/nothing-1234", "/jobs/nothing-1234/answers", "/jobs/..%2f..%2fetc"):
        missing = browser.get(path)
        assert missing.status_code == 404
        assert 'href="/"' in missing.text


def test_a_bug_is_called_one_and_says_where_its_trace_is(console, browser, reviews, monkeypatch):
    def broken(*_, **_options):
        raise LookupError("what may be private")

    monkeypatch.setattr(JobViews, "summary", broken)
    answer = browser.get(f"/jobs/{reviews}")
    assert answer.status_code == 500
    assert "This is a bug: LookupError. The trace" in answer.text
    assert "private" not in answer.text
    monkeypatch.undo()
    with console.browser() as again:  # the connection of a page that failed is closed
        assert again.get(f"/jobs/{reviews}").status_code == 200


def test_a_job_of_another_provider_can_be_looked_at(console, browser, tmp_path):
    source = write_reviews(tmp_path, 3)

    async def build():
        settings = settings_of(
            console.home,
            DOUBLEWORD_BATCH_PROVIDER="generic",
            DOUBLEWORD_BASE_URL="http://127.0.0.1:9/v1",
        )
        async with Jobs(settings) as jobs:
            return (await jobs.create(str(source), prompt="{{ review }} x", model="m")).name

    job = anyio.run(build)
    page = browser.get(f"/jobs/{job}").text
    assert "This job belongs to generic" in page
    assert "Start the console with that provider" in page
    assert "<button" not in re.sub(r"(?s)<dialog.*", "", page)
    assert job in browser.get("/").text
    assert "belongs to generic" in browser.get(f"/jobs/{job}/answers").text


def test_a_job_that_begins_elsewhere_is_told_to_open_pages(console, browser, tmp_path):
    source = write_reviews(tmp_path, 5)
    with browser.stream("GET", "/events", timeout=WAIT_SECONDS) as events:
        lines = events.iter_lines()
        assert next(lines) == "retry: 1000"
        browser_of_list = console.browser()
        with browser_of_list as other:
            until = monotonic() + WAIT_SECONDS
            job = anyio.run(lambda: finish(console.home, source, prompt="New {{ review }}"))
            told = []
            for line in lines:
                told.append(line)
                if job in line or monotonic() > until:
                    break
            assert any(f"job:{job}" in line for line in told)
            assert job in other.get("/parts/jobs").text


def test_a_page_is_told_what_happened_before_it_was_listening(tmp_path):
    home, source = tmp_path / "home", write_reviews(tmp_path, 5)
    with running(home) as console, console.browser() as browser:
        browser.get("/")
        job = anyio.run(lambda: finish(home, source, prompt="New {{ review }}"))
        with browser.stream("GET", "/events", timeout=WAIT_SECONDS) as events:
            lines = events.iter_lines()
            assert [next(lines), next(lines)] == ["retry: 1000", "event: begin"]
            assert any(f"job:{job}" in line for line in lines)  # its end was seen by the first look


def test_a_page_goes_on_after_the_console_was_started_again(home, reviews):
    with running(home) as first, first.browser() as browser:
        port, cookies = first.access.port, dict(browser.cookies)
    with running(home, port=port) as second, second.browser(enter=False) as browser:
        browser.cookies.update(cookies)
        assert reviews in browser.get("/").text
        marked = second.post(browser, f"/jobs/{reviews}/marks", row="2", mark="none")
        assert marked.status_code == 303


def test_the_answers_of_a_schema_are_columns(browser, reviews):
    page = browser.get(f"/jobs/{reviews}/answers").text
    for column in SCHEMA["properties"]:
        assert f'title="Sort by {column}"' in page


@pytest.fixture
def held(tmp_path):
    """A console whose server holds back what a test lets go."""
    folder = tmp_path / "held"
    folder.mkdir()
    source = write_reviews(folder, 4)
    gate = folder / "gate"
    hold = RequestFault(fault="hold", until=str(gate), match=Match(contains="number 3"))
    home = folder / "home"
    config = LocalConfig(home=home, executor="simulate", faults=Faults(requests=(hold,)))
    with LocalServer(config), running(home) as console, console.browser() as browser:
        yield SimpleNamespace(console=console, browser=browser, source=source, gate=gate)


def test_the_button_that_cancels_stops_the_job_and_keeps_what_has_finished(held):
    async def submit():
        async with Jobs(settings_of(held.console.home)) as jobs:
            job = await jobs.create(str(held.source), prompt="{{ review }}")
            await job.submit()
            return job.name

    job = anyio.run(submit)
    assert "Cancel the job" in held.browser.get(f"/jobs/{job}").text
    assert held.console.post(held.browser, f"/jobs/{job}/cancel").status_code == 303
    held.gate.touch()
    page = held.browser.get(f"/jobs/{job}").text
    assert "cancelled" in page
    assert "Cancel the job" not in page


def test_what_waits_for_capacity_is_a_card_with_a_button(console, browser, tmp_path):
    source = write_reviews(tmp_path, 4)

    async def submit():
        async with Jobs(settings_of(console.home)) as jobs:
            job = await jobs.create(str(source), prompt="Part {{ review }}")
            await job.submit()
            await job.wait(WAIT_SECONDS)
            ws = await jobs.workspace()
            stored = await find_job(ws, job.name)
            (part,) = stored.parts()
            path = stored.folder / "part-0002.jsonl"
            path.write_bytes(part.path.read_bytes().replace(b"Part", b"Rest"))
            ws.store.add_part(
                job=stored.id, number=2, retry_round=0, path=str(path), requests=4,
                size_bytes=path.stat().st_size, sha256="0" * 64,
            )  # fmt: skip
            return job.name

    job = anyio.run(submit)
    page = browser.get(f"/jobs/{job}").text
    assert "4 requests wait" in page
    assert "Submit the rest" in page
    quote = page.partition('name="quote" value="')[2].partition('"')[0]
    sent = console.post(browser, f"/jobs/{job}/submit", quote=quote, window="24h")
    assert sent.status_code == 303
    assert "requests wait" not in browser.get(f"/jobs/{job}").text
