"""Jobs seen and steered over HTTP: from a file to its answers, retries, adopted batches, faults."""

import json
import os
import re
import shutil
from time import monotonic, sleep, time
from types import SimpleNamespace

import anyio
import pytest

from doubleword_batch import Jobs
from doubleword_batch.jobs.find import find_job
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from running_console import SCHEMA, WAIT_SECONDS, finish, running, settings_of, write_reviews

FRAGMENT = {"x-fragment": "1"}


def ended(browser, job):
    """The job's page once it has ended."""
    until = monotonic() + WAIT_SECONDS
    while monotonic() < until:
        browser.get(f"/jobs/{job}/failures")  # this asks the provider
        page = browser.get(f"/jobs/{job}").text
        if "Look at the answers" in page:
            return page
    raise AssertionError(f"{job} did not end: {page}")


def drop(console, browser, name, content):
    return browser.post(
        "/new/file",
        content=content,
        headers=FRAGMENT
        | {"x-page-token": console.page_token(browser), "x-file-name": name.replace(" ", "%20")},
    )


def test_from_a_dropped_file_to_its_answers(console, browser):
    dropped = drop(console, browser, "my reviews.csv", b"id,text\n1,good\n2,bad\n3,so so\n")
    draft = dropped.json()["location"]
    assert "my reviews.csv" in browser.get(draft).text
    preview = console.post(browser, f"{draft}/preview", prompt="Judge {{ text }}").text
    assert "Judge so so" in preview
    assert "Uses text" in preview
    assert "Judge {{ text }}" in browser.get(draft).text  # kept while it is written
    tried = console.post(browser, f"{draft}/pilot", prompt="Judge {{ text }}", max_tokens="30")
    assert tried.status_code == 303
    until = monotonic() + WAIT_SECONDS
    while "[simulated]" not in browser.get(f"{draft}/pilots").text:
        assert monotonic() < until
    built = console.post(browser, f"{draft}/build", prompt="Rate {{ text }}", max_tokens="30")
    page = browser.get(built.headers["location"]).text
    assert "Submit 3 rows for $0" in page
    job = built.headers["location"].rpartition("/")[2]
    sent = console.post(browser, f"/jobs/{job}/submit", quote="$0", window="24h")
    assert sent.headers["location"] == f"/jobs/{job}"
    ended(browser, job)
    assert "so so" in browser.get(f"/jobs/{job}/answers").text


def test_a_price_that_is_not_what_the_button_said_submits_nothing(console, browser, tmp_path):
    async def build():
        async with Jobs(settings_of(console.home)) as jobs:
            source = write_reviews(tmp_path, 4)
            return (await jobs.create(str(source), prompt="At {{ review }}")).name

    job = anyio.run(build)
    refused = console.post(browser, f"/jobs/{job}/submit", quote="$0.01", window="24h")
    assert refused.status_code == 400
    assert "The price is $0 now, and the button said $0.01" in refused.text
    assert "Ready to be submitted" in browser.get(f"/jobs/{job}").text


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("{{ txt }}", "Did you mean"),
        ("{{ text", "not a valid template"),
        ("same for all", "Uses no column"),
        ("  ", "Write a prompt"),
    ],
)
def test_a_prompt_is_looked_at_while_it_is_written(console, browser, prompt, words):
    draft = drop(console, browser, "a.csv", b"id,text\n1,good\n").json()["location"]
    assert words in console.post(browser, f"{draft}/preview", prompt=prompt).text


def test_a_row_that_lacks_a_value_says_so_beside_those_that_do_not(console, browser):
    rows = b'{"text": "good", "note": "x"}\n{"text": "bad"}\n'
    draft = drop(console, browser, "a.jsonl", rows).json()["location"]
    preview = console.post(browser, f"{draft}/preview", prompt="{{ text }} {{ note }}").text
    assert "good x" in preview
    assert "uses a value that is missing" in preview


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.pdf", b"%PDF-1.7\n%\xe2\xe3\n", ""),
        ("a.csv", b"id,text\n", "no rows"),
        ("a.xlsx", b"not a book", ""),
        ("../../etc/passwd", b"\x00\x01\x02", ""),
    ],
)
def test_a_file_of_the_wrong_kind_is_a_sentence_and_is_not_kept(
    console, browser, name, content, words
):
    refused = drop(console, browser, name, content)
    assert refused.status_code == 400
    assert words in refused.text
    assert "This is a bug" not in refused.text
    folder = console.home / "console" / "files"
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.read_bytes() != content for path in kept)


def test_the_name_of_a_dropped_file_leads_nowhere(console, browser):
    for name in ("../../x.csv", "..%5C..%5Cy.csv", "/etc/z.csv", "%00.csv", "." * 300 + "csv"):
        answer = drop(console, browser, name, b"id,text\n1,a\n")
        assert answer.status_code in {200, 400}
    folder = (console.home / "console" / "files").resolve()
    for path in folder.rglob("*"):
        assert path.resolve().is_relative_to(folder)
        assert len(path.name) <= 80


def test_a_path_that_does_not_exist_is_a_sentence_beside_the_field(console, browser):
    refused = console.post(browser, "/new/path", source="nowhere.csv")
    assert refused.status_code == 400
    assert 'value="nowhere.csv"' in refused.text
    assert "There is no file or folder" in refused.text


def test_paths_follow_the_roots_where_a_person_listed_them(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    write_reviews(inside)
    write_reviews(outside)
    settings = settings_of(tmp_path / "home", DOUBLEWORD_BATCH_ROOTS=str(inside))
    with running(tmp_path / "home", settings=settings) as console, console.browser() as browser:
        taken = console.post(browser, "/new/path", source=str(inside / "reviews.csv"))
        refused = console.post(browser, "/new/path", source=str(outside / "reviews.csv"))
        dropped = drop(console, browser, "a.csv", b"id,text\n1,good\n")
    assert taken.status_code == 303
    assert "lies outside the folders" in refused.text
    assert dropped.status_code == 200, dropped.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"response_schema": "{"}, "The schema is not JSON"),
        ({"response_schema": "/etc/passwd"}, "The schema is not JSON"),
        ({"response_schema": "[1]"}, "The schema is not a JSON object"),
        ({"max_tokens": "many"}, "not a number of tokens"),
        ({"max_cost_usd": "-1"}, "not an amount of US dollars"),
        ({"window": "7 moons"}, ""),
        ({"prompt": ""}, "empty"),
    ],
)
def test_what_cannot_be_built_says_why(console, browser, fields, words):
    draft = drop(console, browser, "a.csv", b"id,text\n1,good\n").json()["location"]
    form = {"prompt": "Judge {{ text }}", **fields}
    refused = console.post(browser, f"{draft}/pilot", **form)
    assert refused.status_code == 400
    assert words in refused.text
    assert "This is a bug" not in refused.text


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
    retried = console.post(
        browser, f"/jobs/{job}/retry", cause="length", param="max_tokens", value="4000"
    )
    assert retried.status_code == 303
    until = monotonic() + WAIT_SECONDS
    while "Every row that was asked has a good answer" not in failures:
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
    assert "This job lives at generic" in page
    assert "<button" not in re.sub(r"(?s)<dialog.*", "", page)
    assert job in browser.get("/").text
    assert "lives at generic" in browser.get(f"/jobs/{job}/answers").text


def test_a_state_directory_that_is_gone_is_a_sentence(tmp_path):
    home = tmp_path / "home"
    with running(home) as console, console.browser() as browser:
        assert browser.get("/").status_code == 200
        shutil.rmtree(home)
        page = browser.get("/new")
        assert page.status_code == 200
        dropped = drop(console, browser, "a.csv", b"id,text\n1,good\n")
        assert "This is a bug" not in dropped.text


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


def test_what_was_dropped_and_never_became_a_job_goes_after_a_month(tmp_path):
    home = tmp_path / "home"
    with running(home) as console, console.browser() as browser:
        places = [
            drop(console, browser, f"{name}.csv", b"id,text\n1,good\n").json()["location"]
            for name in ("forgotten", "built", "fresh")
        ]
        fields = {"prompt": "{{ text }}", "model": "", "window": "24h"}
        assert console.post(browser, f"{places[1]}/build", **fields).status_code == 303
    files = {path.name: path for path in (home / "console" / "files").glob("*/*.csv")}
    a_month_ago = time() - 31 * 86_400
    for name, place in zip(("forgotten", "built"), places, strict=False):
        os.utime(files[f"{name}.csv"].parent, (a_month_ago, a_month_ago))
        draft = home / "console" / "drafts" / f"{place.rpartition('/')[2]}.json"
        os.utime(draft, (a_month_ago, a_month_ago))
    with running(home) as console, console.browser() as browser:
        with browser.stream("GET", "/events", timeout=WAIT_SECONDS) as events:
            assert next(events.iter_lines()) == "retry: 1000"
            until = monotonic() + WAIT_SECONDS
            while files["forgotten.csv"].exists():
                assert monotonic() < until
                sleep(0.05)
        assert browser.get(places[0]).status_code == 404
        assert browser.get(places[2]).status_code == 200
    assert files["built.csv"].exists()
    assert files["fresh.csv"].exists()


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
