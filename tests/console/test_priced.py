"""A provider that costs money: windows side by side, and a cascade from end to end."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from types import SimpleNamespace

import anyio
import pytest

from cascade.two_models import CHEAP, PROMPT, SCHEMA, STRONG, TwoModels, write_rows
from console.browsers import WAYS_TO_LOOK, check_looks, needs_chromium
from doubleword_batch import Jobs
from doubleword_batch.local import LocalConfig, LocalServer
from running_console import WAIT_SECONDS, running, settings_of

ROWS = 600


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A console over two models at Doubleword's prices."""
    folder = tmp_path_factory.mktemp("priced")
    models = TwoModels()
    config = LocalConfig(home=folder / "server", max_attempts=1)
    with LocalServer(config, executor=models) as server:
        settings = settings_of(
            folder / "home",
            DOUBLEWORD_API_KEY=server.token,
            DOUBLEWORD_BASE_URL=server.base_url,
            DOUBLEWORD_BATCH_PROVIDER="doubleword",
        )
        with running(folder / "home", settings=settings) as console:
            source = write_rows(folder / "rows.csv", ROWS)
            yield SimpleNamespace(
                console=console, source=source, models=models, settings=settings, folder=folder
            )


@pytest.fixture
def browser(priced):
    with priced.console.browser() as client:
        yield client


def draft_of(priced, browser, source=None):
    taken = priced.console.post(browser, "/new/path", source=str(source or priced.source))
    return taken.headers["location"]


FIELDS = {
    "prompt": PROMPT,
    "model": CHEAP,
    "window": "24h",
    "max_tokens": "20",
    "response_schema": json.dumps(SCHEMA),
}
CASCADE = {"cascade_model": STRONG, "cascade_target": "95"}


def built(priced, browser, **more):
    answer = priced.console.post(browser, f"{draft_of(priced, browser)}/build", **(FIELDS | more))
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_what_waits_for_a_first_wave_and_what_costs_nothing_is_told(priced, browser):
    source = priced.folder / "alike.csv"
    texts = [f"{'word ' * 1_000} row {n}" for n in (1, 2, 3, 4, 1)]
    source.write_text("text\n" + "\n".join(texts), encoding="utf-8", newline="\n")

    async def submitted():
        async with Jobs(priced.settings) as jobs:
            asked = {"prompt": "{{ text }}", "model": CHEAP, "options": {"first_wave": 1}}
            job = await jobs.create(str(source), **asked)
            await job.submit()
            return job.name

    priced.models.holds = True
    try:
        with ThreadPoolExecutor(1) as threads:  # Playwright keeps a loop of its own in this thread
            name = threads.submit(anyio.run, submitted).result(WAIT_SECONDS)
        page = browser.get(f"/jobs/{name}").text
    finally:
        priced.models.holds = False
    assert "1 request goes first; the other 3 wait until it has ended." in page
    assert "Submit the rest" not in page
    assert re.search(r"equal row(&#39;|')s request</dt><dd>1 row</dd>", page)


def test_the_windows_stand_side_by_side_while_the_prompt_is_written(priced, browser):
    fields = FIELDS | {"model": "Qwen/Qwen3-14B-FP8"}  # single calls have a price on file, too
    page = priced.console.post(browser, f"{draft_of(priced, browser)}/preview", **fields).text
    windows = re.findall(
        r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td class="number">([^<]+)', page
    )
    assert [window[:2] for window in windows] == [
        ("24h", "within hours"),
        ("1h", "within minutes"),
        ("single calls", "at once"),
    ]
    assert all(re.fullmatch(r"\$0\.0\d+", cost) for _, _, cost in windows)
    assert "By prices of 2026-" in page
    assert "Each 1,000 rows, about" in page


def test_a_job_is_submitted_in_the_window_whose_button_was_pressed(priced, browser):
    job = built(priced, browser, prompt="Which one? {{ text }}")
    page = browser.get(job).text
    way = re.search(r'name="way" value="(1h \$[\d.]+)">Submit for (\$[\d.]+)', page)
    assert way[1].endswith(way[2])
    refused = priced.console.post(browser, f"{job}/submit", way="1h $0.0001", quote="$0")
    assert "Nothing was submitted" in refused.text
    sent = priced.console.post(browser, f"{job}/submit", way=way[1], quote="$0", window="24h")
    assert sent.status_code == 303
    assert "<dt>Window</dt><dd>1h</dd>" in browser.get(job).text


def test_a_cascade_says_what_it_can_cost_before_anything_is_sent(priced, browser):
    draft = draft_of(priced, browser)
    page = priced.console.post(browser, f"{draft}/preview", **(FIELDS | CASCADE)).text
    most, half = re.search(
        r"at most <b>\$([\d.]+)</b>.*?about \$([\d.]+) if half do", page
    ).groups()
    assert float(half) < float(most)
    page = browser.get(built(priced, browser, **CASCADE)).text
    assert "if every row goes to both models: about $" in page
    assert f"<b>{STRONG}</b> answers the rows that need it" in page
    assert priced.models.asked[STRONG] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"response_schema": ""}, "needs a response_schema that names them"),
        ({"cascade_model": CHEAP}, "strong model is the job&#39;s own"),
        ({"cascade_target": "many"}, "Write a percentage from 50 to 99"),
        ({"response_schema": "{"}, "The schema is not JSON"),
        ({"response_schema": '{"type": "thing"}'}, "not a usable schema"),
        ({"max_tokens": "0"}, "must be a whole number of tokens"),
    ],
)
def test_what_a_cascade_or_a_schema_lacks_is_said_while_it_is_written(
    priced, browser, fields, words
):
    draft = draft_of(priced, browser)
    given = FIELDS | CASCADE | fields
    assert words in priced.console.post(browser, f"{draft}/preview", **given).text
    refused = priced.console.post(browser, f"{draft}/build", **given)
    assert refused.status_code == 400
    assert words in refused.text
    assert PROMPT in refused.text  # on the page where it was written, which lost nothing


def test_too_few_rows_for_a_cascade_are_named_with_what_to_do(priced, browser):
    draft = draft_of(priced, browser, write_rows(priced.folder / "few.csv", 40))
    refused = priced.console.post(browser, f"{draft}/build", **(FIELDS | CASCADE))
    assert "not worth it for 40 requests" in refused.text


@needs_chromium
@pytest.mark.parametrize("way", WAYS_TO_LOOK)
def test_windows_cascades_and_long_prompts_are_accessible_and_fit_the_screen(
    priced, browser, opened, way
):
    lines = "\n".join(f"Consider the question {number} of it." for number in range(60))
    draft = draft_of(priced, browser)
    fields = FIELDS | CASCADE | {"prompt": f"{PROMPT}\n{lines}", "system": lines}
    assert priced.console.post(browser, f"{draft}/preview", **fields).status_code == 200
    job = built(priced, browser, **fields)
    with opened(priced.console, **way) as page:
        page.goto(priced.console.base + draft)
        page.wait_for_selector("#rendered article")
        check_looks(page)
        page.goto(priced.console.base + job)
        check_looks(page)
        button = page.get_by_role("button", name=f"Submit {ROWS} rows for $").bounding_box()
        assert button["x"] + button["width"] <= way["viewport"]["width"]


def shown(browser, job, *words):
    """The job's page once it has all these words; an open page has the console look after it."""
    until = monotonic() + WAIT_SECONDS
    with browser.stream("GET", "/events", timeout=WAIT_SECONDS):
        while not all(word in (page := browser.get(job).text) for word in words):
            assert monotonic() < until, page
            sleep(0.1)
    return page


def test_a_cascade_is_carried_on_while_a_page_is_open_and_shows_its_agreement(priced, browser):
    job = built(priced, browser, prompt=f"{PROMPT} Say it.", **CASCADE)
    quote = re.search(r'name="quote" value="([^"]+)"', browser.get(job).text)[1]
    sent = priced.console.post(browser, f"{job}/submit", quote=quote, window="24h")
    assert sent.status_code == 303
    with (
        running(priced.folder / "home", settings=priced.settings, read_only=True) as console,
        console.browser() as reader,
    ):
        shown(reader, job, f"<b>{CHEAP}</b> answers all rows, now", "600 ok")
        assert "Look at the answers" not in reader.get(job).text  # it sends nothing
    page = shown(browser, job, "Look at the answers", "600 ok")
    assert f"<b>{STRONG}</b> answers the rows that need it, done" in page
    agreement = re.search(r"Agreement, on (\d+) sampled rows</dt><dd>([\d.]+) %", page)
    assert float(agreement[2]) >= 95
    rows = re.findall(r"Answered by ([^<]+)</dt><dd>([\d,]+) rows", page)
    assert {model for model, _ in rows} == {CHEAP, STRONG}
    assert sum(int(number.replace(",", "")) for _, number in rows) == ROWS
    assert "Saved, compared with" in page
    assert "not with the truth" in page
