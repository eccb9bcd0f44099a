"""Buttons that are pressed twice, in two tabs, or on a page of before: nothing is paid twice."""

import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anyio
import httpx
import pytest

from console.browsers import needs_chromium
from doubleword_batch import Jobs
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import RequestFault
from running_console import WAIT_SECONDS, ended, running, settings_of, write_reviews

ROWS = 4
TABS = 6
PAGES = ("", "/answers", "/failures", "/judge", "/rows/1", "/query", "/progress")


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A console whose provider costs money and fails every row, and a maker of jobs."""
    folder = tmp_path_factory.mktemp("failing")
    source = write_reviews(folder, ROWS)
    faults = Faults(requests=(RequestFault(fault="error", status=500, message="<b>no</b>"),))
    config = LocalConfig(home=folder / "server", executor="simulate", faults=faults)
    with LocalServer(config) as server:
        settings = settings_of(
            folder / "home",
            DOUBLEWORD_API_KEY=server.token,
            DOUBLEWORD_BASE_URL=server.base_url,
            DOUBLEWORD_BATCH_PROVIDER="doubleword",
            DOUBLEWORD_BATCH_MAX_COST_USD="9",  # so that a retry is a batch of its own
        )

        def job():
            async def make():
                async with Jobs(settings) as jobs:
                    order = {"prompt": "{{ review }}", "model": "Qwen/Qwen3-14B-FP8"}
                    limit = {"max_tokens": 1000}
                    made = await jobs.create(str(source), **order, params=limit, new_run=True)
                    return made.name

            with ThreadPoolExecutor(1) as threads:
                return threads.submit(anyio.run, make).result(WAIT_SECONDS)

        def batches():
            key = {"authorization": f"Bearer {server.token}"}
            listed = httpx.get(f"{server.base_url}/batches", headers=key, timeout=WAIT_SECONDS)
            return len(listed.json()["data"])

        with running(folder / "home", settings=settings) as console:
            yield SimpleNamespace(console=console, job=job, batches=batches)


@pytest.fixture
def browser(failing):
    with failing.console.browser() as client:
        yield client


def hidden(page):
    """The fields that come back with the page's first form."""
    form = page.partition("<form method")[2] or page.partition('<form class="retry"')[2]
    inside = form.partition("</form>")[0]
    found = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', inside))
    found.pop("page_token", None)
    return found


def press_in_tabs(failing, path, fields):
    def press(_):
        with failing.console.browser() as tab:
            return failing.console.post(tab, path, **fields).status_code

    with ThreadPoolExecutor(TABS) as threads:
        return sorted(threads.map(press, range(TABS)))


def test_a_form_that_is_sent_six_times_at_once_makes_one_batch(failing, browser):
    job, before = failing.job(), failing.batches()
    form = hidden(browser.get(f"/jobs/{job}").text)
    assert press_in_tabs(failing, f"/jobs/{job}/submit", form) == [303] * TABS
    ended(browser, job)
    assert failing.batches() == before + 1
    failing.console.post(browser, f"/jobs/{job}/submit", **form)  # the back button, and once more
    failing.console.post(browser, f"/jobs/{job}/submit", **form | {"window": "1h"})
    assert failing.batches() == before + 1


def test_a_retry_is_made_once_and_not_from_a_page_of_before(failing, browser):
    job = failing.job()
    failing.console.post(browser, f"/jobs/{job}/submit", **hidden(browser.get(f"/jobs/{job}").text))
    ended(browser, job)
    before = failing.batches()
    form = hidden(browser.get(f"/jobs/{job}/failures").text)
    assert 303 in press_in_tabs(failing, f"/jobs/{job}/retry", form)  # those that wait for it, too
    ended(browser, job)
    assert failing.batches() == before + 1
    stale = failing.console.post(browser, f"/jobs/{job}/retry", **form)
    assert stale.status_code == 400
    assert "has changed since this page was shown. Nothing was submitted" in stale.text
    dearer = hidden(browser.get(f"/jobs/{job}/failures").text)
    dearer["told"] = dearer["told"].rpartition(" ")[0] + " $0.00001"
    assert failing.console.post(browser, f"/jobs/{job}/retry", **dearer).status_code == 400
    assert failing.batches() == before + 1
    again = hidden(browser.get(f"/jobs/{job}/failures").text)
    assert failing.console.post(browser, f"/jobs/{job}/retry", **again).status_code == 303
    assert failing.batches() == before + 2


def test_a_job_of_which_every_row_has_failed_has_all_of_its_pages(failing, browser):
    job = failing.job()
    failing.console.post(browser, f"/jobs/{job}/submit", **hidden(browser.get(f"/jobs/{job}").text))
    assert f"{ROWS} without a good answer" in ended(browser, job)
    for path in PAGES:
        page = browser.get(f"/jobs/{job}{path}")
        assert (path, page.status_code) == (path, 200)
        assert "<b>no</b>" not in page.text


@needs_chromium
def test_the_back_button_and_a_double_click_pay_once(failing, opened):
    job, before = failing.job(), failing.batches()
    with opened(failing.console) as page:
        page.goto(f"{failing.console.base}/jobs/{job}")
        page.get_by_role("button", name=f"Submit {ROWS} rows").first.dblclick()
        page.wait_for_selector("text=Look at the answers")
        page.go_back()
        page.reload()
        page.goto(f"{failing.console.base}/jobs/{job}/failures")
        page.get_by_role("button", name=f"Retry {ROWS} rows").dblclick()
        page.wait_for_url(lambda url: not url.endswith("/failures"))
        page.wait_for_load_state()
    assert failing.batches() == before + 2
