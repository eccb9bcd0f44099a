"""What waits for a person's yes, on the pages: shown, approved once, declined."""

import re
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from types import SimpleNamespace

import anyio
import pytest

from console.browsers import WAYS_TO_LOOK, check_looks, needs_chromium
from doubleword_batch import Jobs
from doubleword_batch.jobs.approvals import ApprovalError
from doubleword_batch.local import LocalConfig, LocalServer
from running_console import WAIT_SECONDS, running, settings_of, write_reviews

MODEL = "Qwen/Qwen3-14B-FP8"


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    """A console whose provider costs money, and makers of jobs."""
    folder = tmp_path_factory.mktemp("asking")
    source = write_reviews(folder, 8)
    with LocalServer(LocalConfig(home=folder / "server", executor="simulate")) as server:
        settings = settings_of(
            folder / "home",
            DOUBLEWORD_API_KEY=server.token,
            DOUBLEWORD_BASE_URL=server.base_url,
            DOUBLEWORD_BATCH_PROVIDER="doubleword",
            DOUBLEWORD_BATCH_ASK_ABOVE_USD="0.10",
        )

        def job(*, submit=True):
            async def work():
                async with Jobs(settings) as jobs:
                    made = await jobs.create(
                        str(source),
                        prompt="{{ review }}",
                        model=MODEL,
                        params={"max_tokens": 100_000},
                        new_run=True,
                    )
                    if submit:
                        with pytest.raises(ApprovalError):
                            await made.submit()
                    return made.name

            with ThreadPoolExecutor(1) as threads:
                return threads.submit(anyio.run, work).result(WAIT_SECONDS)

        with running(folder / "home", settings=settings) as console:
            yield SimpleNamespace(console=console, job=job, folder=folder, settings=settings)


@pytest.fixture
def browser(asking):
    with asking.console.browser() as client:
        yield client


def question_on(page):
    return page.partition('name="question" value="')[2][:32]


def test_what_waits_is_on_the_list_and_on_the_jobs_page_with_its_price(asking, browser):
    job = asking.job()
    assert f"{job}</a>, at most $0.1601 for 8 requests (24h)" in browser.get("/").text
    page = browser.get(f"/jobs/{job}").text
    assert "Submit at most $0.1601 for 8 requests" in page
    assert "Approve and submit" in page


def test_a_pilot_that_needs_a_yes_leads_to_the_page_that_asks(asking, browser):
    given = {"source": str(asking.folder / "reviews.csv")}
    draft = asking.console.post(browser, "/new/path", **given).headers["location"]
    form = {"prompt": "Try {{ review }}", "model": MODEL, "max_tokens": "500000"}
    sent = asking.console.post(browser, f"{draft}/pilot", **form)
    assert sent.status_code == 303
    assert "Approve and submit" in browser.get(sent.headers["location"]).text


def test_a_pilot_says_what_all_rows_cost_at_its_rate(asking, browser):
    given = {"source": str(asking.folder / "reviews.csv")}
    draft = asking.console.post(browser, "/new/path", **given).headers["location"]
    form = {"prompt": "Price {{ review }}", "model": MODEL, "max_tokens": "500"}
    assert asking.console.post(browser, f"{draft}/pilot", **form).status_code == 303
    until = monotonic() + WAIT_SECONDS
    while "rows at this rate" not in (trials := browser.get(f"{draft}/pilots").text):
        assert monotonic() < until
    of_five, of_all = re.search(r"\$(\S+) · all 8 rows at this rate: \$([\d.]+)", trials).groups()
    assert float(of_all) == pytest.approx(float(of_five) * 8 / 5, rel=0.1)


def test_a_yes_submits_it_once(asking, browser):
    job = asking.job()
    question = question_on(browser.get(f"/jobs/{job}").text)
    answer = {"question": question, "decision": "approved"}
    done = asking.console.post(browser, f"/jobs/{job}/approve", **answer)
    assert done.status_code == 303
    page = browser.get(f"/jobs/{job}").text
    assert "Approve and submit" not in page
    assert "<dt>Batches</dt>" in page
    again = asking.console.post(browser, f"/jobs/{job}/approve", **answer)
    assert again.status_code == 400


def test_a_no_is_kept_and_can_be_taken_back(asking, browser):
    job = asking.job()
    question = question_on(browser.get(f"/jobs/{job}").text)
    asking.console.post(browser, f"/jobs/{job}/approve", question=question, decision="declined")
    page = browser.get(f"/jobs/{job}").text
    assert "You declined" in page
    assert "<dt>Batches</dt>" not in page
    assert "Approve and submit" in page


@pytest.mark.parametrize("fields", [{"question": "0" * 32}, {"decision": "maybe"}, {}])
def test_an_answer_to_another_question_changes_nothing(asking, browser, fields):
    job = asking.job()
    question = question_on(browser.get(f"/jobs/{job}").text)
    given = {"question": question, "decision": "approved", **fields} if fields else {}
    refused = asking.console.post(browser, f"/jobs/{job}/approve", **given)
    assert refused.status_code == 400
    assert "<dt>Batches</dt>" not in browser.get(f"/jobs/{job}").text


def test_without_the_pages_token_or_in_read_only_mode_nothing_is_approved(asking, browser):
    job = asking.job()
    answer = {
        "question": question_on(browser.get(f"/jobs/{job}").text),
        "decision": "approved",
    }
    forged = asking.console.post(browser, f"/jobs/{job}/approve", **answer, page_token="x")
    assert forged.status_code == 403
    with (
        running(asking.folder / "home", settings=asking.settings, read_only=True) as console,
        console.browser() as reader,
    ):
        assert "Approve and submit" not in reader.get(f"/jobs/{job}").text
        assert console.post(reader, f"/jobs/{job}/approve", **answer).status_code == 403


def test_the_button_that_says_the_price_is_the_persons_yes(asking, browser):
    job = asking.job(submit=False)
    page = browser.get(f"/jobs/{job}").text
    quote = page.partition('name="quote" value="')[2].partition('"')[0]
    assert quote == "$0.1601"
    done = asking.console.post(browser, f"/jobs/{job}/submit", quote=quote, window="24h")
    assert done.status_code == 303
    assert "<dt>Batches</dt>" in browser.get(f"/jobs/{job}").text


@needs_chromium
def test_what_waits_is_accessible_and_fits_a_narrow_screen(asking, opened):
    job = asking.job()
    with opened(asking.console, **WAYS_TO_LOOK[-1]) as page:
        for path in ("/", f"/jobs/{job}"):
            page.goto(asking.console.base + path)
            check_looks(page)
