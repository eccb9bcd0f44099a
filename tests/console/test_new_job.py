"""A new job over HTTP: the dropped file or path, the prompt on real rows, what cannot be built."""

import json
import os
import re
import shutil
from time import monotonic, sleep, time

import anyio
import pytest

from doubleword_batch import Jobs
from doubleword_batch.library.drafts import Drafts
from doubleword_batch.sources.options import CHECKS
from running_console import WAIT_SECONDS, ended, running, settings_of, write_reviews
from skill.servers import answering

FRAGMENT = {"x-fragment": "1"}


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


def test_a_trial_whose_job_was_deleted_is_a_sentence_and_the_draft_goes_on(console, browser):
    dropped = drop(console, browser, "trial.csv", b"text\nfine\nsad\n")
    draft = dropped.json()["location"]
    console.post(browser, f"{draft}/pilot", prompt="Try {{ text }}", max_tokens="30")
    until = monotonic() + WAIT_SECONDS
    while "[simulated]" not in (tried := browser.get(f"{draft}/pilots").text):
        assert monotonic() < until
    job = re.search(r'href="/jobs/([^"]+)"', tried)[1]

    async def delete():
        async with Jobs(settings_of(console.home)) as jobs:
            await jobs.job(job).delete(force=True)

    anyio.run(delete)
    page = browser.get(draft)
    assert page.status_code == 200
    assert "Try {{ text }}" in page.text
    trials = browser.get(f"{draft}/pilots").text
    assert "There is no job" in trials
    assert "[simulated]" not in trials


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


@pytest.mark.parametrize("name", ["%F0%A0%80%80" * 200 + ".csv", "NUL.csv"])
def test_a_dropped_file_of_a_name_that_no_disk_has_is_kept_under_another(console, browser, name):
    answer = drop(console, browser, name, b"id,text\n1,a\n")
    assert answer.status_code == 200, answer.text
    kept = (console.home / "console" / "files").rglob("*")
    for path in kept:
        assert len(path.name.encode()) <= 255
        assert path.stem.lower() != "nul"


def test_a_path_that_does_not_exist_is_a_sentence_beside_the_field(console, browser):
    refused = console.post(browser, "/new/path", source="nowhere.csv")
    assert refused.status_code == 400
    assert 'value="nowhere.csv"' in refused.text
    assert "There is no file or folder" in refused.text
    empty = console.post(browser, "/new/path", source=" ")
    assert empty.status_code == 400
    assert "No path was given" in empty.text


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
        ({"max_tokens": "many"}, "must be a whole number of tokens"),
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


def test_a_state_directory_that_is_gone_is_a_sentence(tmp_path):
    home = tmp_path / "home"
    with running(home) as console, console.browser() as browser:
        assert browser.get("/").status_code == 200
        shutil.rmtree(home)
        page = browser.get("/new")
        assert page.status_code == 200
        dropped = drop(console, browser, "a.csv", b"id,text\n1,good\n")
        assert "This is a bug" not in dropped.text


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


def test_a_page_offers_so_many_models_and_says_how_many_more_there_are(home, tmp_path):
    source = write_reviews(tmp_path, 2)
    offered = json.dumps({"data": [{"id": f"model-{n}"} for n in range(1_500)]}).encode()
    with answering(200, offered, {"Content-Length": str(len(offered))}) as (url, _):
        settings = settings_of(
            home,
            DOUBLEWORD_BATCH_PROVIDER="generic",
            DOUBLEWORD_API_KEY="k",
            DOUBLEWORD_BASE_URL=f"{url}/v1",
        )
        with running(home, settings=settings) as console, console.browser() as browser:
            draft = console.post(browser, "/new/path", source=str(source)).headers["location"]
            page = browser.get(draft).text
    assert "500 more models are not listed here" in page
    assert page.count('<option value="model-999"') == 2
    assert "model-1000" not in page


# Files that do not say how they are written

ODD = "# of May\n1^it''s, good^NULL\n2^'bad^er'^x\n"
DIALECT = {"read_delimiter": "^", "read_header_row": "0", "read_quote": "'", "read_comment": "#"}


@pytest.fixture
def odd(console, tmp_path):
    path = console.home / "odd.txt"
    path.write_text(ODD.replace("''", "'"), encoding="utf-8", newline="")
    return path


def test_both_pages_of_a_new_job_offer_every_option_of_a_source(console, browser, odd):
    taken = console.post(browser, "/new/path", source=str(odd), **DIALECT)
    for page in ("/new", taken.headers["location"]):
        text = browser.get(page).text
        assert all(f'name="read_{name}"' in text for name in CHECKS)


def test_a_file_is_read_as_the_form_says_and_so_is_its_job(console, browser, odd):
    refused = console.post(browser, "/new/path", source=str(odd), read_delimiter="^")
    assert refused.status_code == 400
    assert "The header is a single cell" in refused.text
    assert 'name="read_delimiter" value="^"' in refused.text  # what was said stays
    draft = console.post(browser, "/new/path", source=str(odd), **DIALECT).headers["location"]
    page = browser.get(draft).text
    assert "bad^er" in page
    assert "column_3" in page
    prompt = "Rate {{ column_2 }} {{ column_3 }}"
    assert "Rate bad^er x" in console.post(browser, f"{draft}/preview", prompt=prompt).text
    built = console.post(browser, f"{draft}/build", prompt=prompt, **DIALECT).headers["location"]
    assert "Submit 2 rows" in browser.get(built).text


def test_an_option_changed_on_the_way_shows_the_rows_again_before_anything_is_built(
    console, browser, odd
):
    draft = console.post(browser, "/new/path", source=str(odd), **DIALECT).headers["location"]
    prompt = "Rate {{ column_3 }}"
    shown = console.post(browser, f"{draft}/build", prompt=prompt, **DIALECT, read_null="NULL")
    assert shown.headers["location"] == draft
    assert prompt in browser.get(draft).text
    dialect = {**DIALECT, "read_null": "NULL"}
    bad = console.post(browser, f"{draft}/read", prompt="Another", **dialect | {"read_quote": "ab"})
    assert "The option quote must be" in bad.text
    assert 'name="read_quote" value="ab"' in bad.text
    page = browser.get(draft).text  # what cannot be used is not kept; what was written is
    assert "Another" in page
    assert 'name="read_quote" value="&#39;"' in page


def test_a_dropped_file_is_read_as_the_page_says(console, browser):
    headers = {"x-fragment": "1", "x-file-name": "t.csv"}
    headers["x-page-token"] = console.page_token(browser)
    refused = browser.post("/new/file", content=b"text\na, b\n", headers=headers)
    assert "set delimiter to tab" in refused.text
    taken = browser.post(
        "/new/file", params={"read_delimiter": "tab"}, content=b"text\na, b\n", headers=headers
    )
    assert "a, b" in browser.get(json.loads(taken.text)["location"]).text


def test_drafts_of_before_are_read_as_the_file_says_it(console, browser, odd):
    folder = console.home / "console" / "drafts"
    folder.mkdir(parents=True, exist_ok=True)
    (console.home / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    old = {"id": "0123456789abcdef", "source": str(console.home / "t.csv"), "prompt": "Say {{ a }}"}
    (folder / "0123456789abcdef.json").write_text(json.dumps(old), encoding="utf-8")
    assert "Say {{ a }}" in browser.get("/new/0123456789abcdef").text


def test_the_list_of_options_is_the_one_of_every_door():
    assert Drafts.offered is CHECKS
