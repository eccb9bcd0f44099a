"""What goes wrong in front of a person: each time a sentence on the page, and what to do."""

import shutil

import pytest

from console.browsers import needs_chromium, run_apart
from doubleword_batch import Jobs
from running_console import running, settings_of, write_reviews

pytestmark = needs_chromium


def drop(page, name, text):
    """Drop a file onto the page of a new job."""
    page.goto(page.url.partition("/new")[0].rstrip("/") + "/new")
    dropped = page.evaluate_handle(
        """([name, text]) => { const data = new DataTransfer();
        data.items.add(new File([text], name)); return data; }""",
        [name, text],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})


@pytest.mark.parametrize(
    ("name", "text"),
    [("report.pdf", "%PDF-1.7 nothing"), ("book.xlsx", "not a book"), ("empty.csv", "")],
)
def test_a_file_of_the_wrong_kind_is_a_sentence_where_it_was_dropped(console, opened, name, text):
    with opened(console) as page:
        drop(page, name, text)
        page.wait_for_selector("#drop-note .notice.error")
        assert page.inner_text("#drop-note .hint")
        assert "This is a bug" not in page.inner_text("#drop-note")
        drop(page, "good.csv", "id,text\n1,fine\n")  # and the page can be used on
        page.wait_for_url("**/new/*")


def test_a_schema_that_is_none_is_said_as_it_is_written_and_nothing_is_lost(console, opened):
    with opened(console) as page:
        drop(page, "good.csv", "id,text\n1,fine\n")
        page.wait_for_url("**/new/*")
        page.get_by_label("Prompt of each row").fill("Judge {{ text }}")
        page.get_by_text("Answers as columns").click()
        schema = page.get_by_label("JSON Schema")
        schema.fill('{"type": ')
        page.wait_for_selector("#rendered >> text=The schema is not JSON")
        page.get_by_role("button", name="Continue with all rows").click()
        page.wait_for_selector("main > .notice.error >> text=The schema is not JSON")
        page.wait_for_load_state()  # its script adds the column
        assert page.get_by_label("Prompt of each row").input_value() == "Judge {{ text }}"
        assert page.get_by_label("JSON Schema").input_value() == '{"type": '
        page.get_by_label("JSON Schema").fill("")
        page.get_by_label("Name").fill("mood")  # the schema by form
        page.get_by_label("Kind").select_option("enum")
        page.get_by_label("Values, with commas").fill("good, bad")
        page.get_by_role("button", name="Add").click()
        page.wait_for_selector("#rendered >> text=Judge fine")
        page.get_by_role("button", name="Continue with all rows").click()
        page.wait_for_selector("text=Ready to be submitted")
        page.get_by_text("Response schema").click()
        assert '"enum": [' in page.inner_text("details pre")


def test_a_state_directory_that_is_gone_is_a_sentence_and_what_to_do(tmp_path, opened):
    home = tmp_path / "home"
    with running(home, patience=1.0) as console, opened(console) as page:
        drop(page, "good.csv", "id,text\n1,fine\n")
        page.wait_for_url("**/new/*")
        draft = page.url
        shutil.rmtree(home)
        for address in (
            console.base,
            draft,
            f"{console.base}/jobs/x-1",
        ):
            page.goto(address)
            assert "This is a bug" not in page.inner_text("main")
        page.goto(draft)
        assert page.inner_text(".notice.error .hint")
        drop(page, "good.csv", "id,text\n1,fine\n")
        page.wait_for_selector("#drop-note .notice.error, main > .notice.error, #draft")
        assert "This is a bug" not in page.inner_text("main")


def test_of_two_consoles_the_second_yes_pays_nothing_again(
    home, reviews, console, opened, tmp_path
):
    async def build():
        async with Jobs(settings_of(home)) as jobs:
            return (await jobs.create(str(source), prompt="Twice {{ review }}")).name

    source = write_reviews(tmp_path, 3)
    job = run_apart(build)
    with running(home) as second, opened(console) as first_page, opened(second) as second_page:
        first_page.goto(f"{console.base}/jobs/{job}")
        second_page.goto(f"{second.base}/jobs/{job}")
        first_page.get_by_role("button", name="Submit 3 rows for $0").click()
        first_page.wait_for_selector("text=Look at the answers")
        second_page.wait_for_selector("text=Look at the answers")  # it moved by itself
        first_page.goto(f"{console.base}/jobs/{job}/judge?place=0")
        first_page.keyboard.press("y")
        first_page.wait_for_url("**place=1")
        second_page.goto(f"{second.base}/jobs/{job}/judge?place=0")
        assert "1 of 3 judged" in second_page.inner_text("main")

    async def batches():
        async with Jobs(settings_of(home)) as jobs:
            return len((await jobs.job(job).status()).batch_ids)

    assert run_apart(batches) == 1


def test_a_browser_that_was_left_open_over_a_week_is_told_how_to_go_on(home, reviews, opened):
    with running(home) as console:
        port = console.access.port
        manager = opened(console)
        page = manager.__enter__()
        page.goto(f"{console.base}/jobs/{reviews}/judge?place=0")
        judge = page.context.new_page()
        judge.goto(f"{console.base}/jobs/{reviews}")
    with running(home, port=port, key="another key") as console:
        judge.wait_for_selector("#lost:visible >> text=Run doubleword-batch console")
        page.get_by_role("button", name="Right").click()
        page.wait_for_selector(
            "text=This browser has no access to the console, or its week of access is over."
        )
        assert "open the address that it shows" in page.inner_text(".hint")
        page.goto(console.access.first_address)
        page.wait_for_selector("h1 >> text=Jobs")
        manager.__exit__(None, None, None)


def test_a_page_of_another_session_changes_nothing_and_says_so(console, reviews, opened):
    with opened(console) as page:
        page.goto(f"{console.base}/jobs/{reviews}/judge?place=0")
        page.context.clear_cookies()  # let in anew, with another cookie, in another tab
        second_page = page.context.new_page()
        second_page.goto(console.access.first_address)
        second_page.wait_for_url(f"{console.base}/")
        page.get_by_role("button", name="Right").click()
        page.wait_for_selector("text=This page is from another session of the console")
        assert "Load the page again" in page.inner_text("main")
