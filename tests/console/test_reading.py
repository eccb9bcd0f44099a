"""Files that do not say how they are written, read in the console with the options of a build."""

import json

import pytest

from doubleword_batch.library.drafts import Drafts
from doubleword_batch.sources.options import CHECKS

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
