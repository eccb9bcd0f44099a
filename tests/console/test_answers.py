"""The table of answers: pages, filters, sorting, one row, queries, downloads, marks."""

import csv
import io
import json
import os
import re
import threading
from time import monotonic

import anyio
import pytest

from doubleword_batch import Faults, Jobs, LocalConfig, LocalServer
from doubleword_batch.jobs.views import snapshots
from doubleword_batch.library import answer_tables, views
from doubleword_batch.local.executors.faults import Match, RequestFault
from running_console import WAIT_SECONDS, finish, running, settings_of, write_reviews

ROW_NUMBERS = re.compile(r'/rows/(\d+)" data-drawer')


def numbers(page):
    return [int(found) for found in ROW_NUMBERS.findall(page.text)]


def following(page):
    return re.search(r'rel="next" href="([^"]+)"', page.text)[1].replace("&amp;", "&")


def test_pages_follow_each_other_and_hold_every_row_once(browser, reviews):
    first = browser.get(f"/jobs/{reviews}/answers")
    second = browser.get(following(first))
    assert numbers(first) + numbers(second) == list(range(1, 61))
    assert 'rel="next"' not in second.text


def test_a_column_of_numbers_sorts_as_numbers(browser, reviews):
    page = browser.get(f"/jobs/{reviews}/answers", params={"sort": "id", "descending": "1"})
    assert numbers(page)[:3] == [60, 59, 58]


@pytest.mark.parametrize("descending", ["", "1"])
def test_sorting_goes_on_over_pages(browser, reviews, descending):
    query = {"sort": "score", "descending": descending}
    first = browser.get(f"/jobs/{reviews}/answers", params=query)
    second = browser.get(
        re.search(r'rel="next" href="([^"]+)"', first.text)[1].replace("&amp;", "&")
    )
    assert sorted(numbers(first) + numbers(second)) == list(range(1, 61))
    assert 'rel="next"' not in second.text


@pytest.mark.parametrize("descending", ["", "1"])
def test_pages_sorted_by_a_column_with_empty_cells_hold_every_row_once(
    console, browser, tmp_path, descending
):
    source = tmp_path / "sparse.jsonl"
    rows = [{"n": n if n % 12 < 5 else None, "text": f"row {n}"} for n in range(120)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    job = anyio.run(
        lambda: finish(console.home, source, prompt=f"Judge {{{{ text }}}} {descending}")
    )
    query = {"sort": "n", "descending": descending}
    pages = [browser.get(f"/jobs/{job}/answers", params=query)]
    while 'rel="next"' in pages[-1].text:
        pages.append(browser.get(following(pages[-1])))
    found = [number for page in pages for number in numbers(page)]
    ordered = sorted(range(1, 121), key=lambda number: (rows[number - 1]["n"] is not None, number))
    assert found == (ordered[::-1] if descending else ordered)
    assert len(pages) == 3


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"text": "number 5"}, [6, *range(51, 61)]),
        ({"text": "NUMBER 59"}, [60]),
        ({"text": "%"}, []),
        ({"text": "_"}, []),
        ({"column": "id", "value": "7"}, [8]),
        ({"column": "id", "low": "10", "high": "12"}, [11, 12]),
        ({"column": "product", "value": "lamp", "text": "number 1"}, [2, 12, 14, 16, 18, 20]),
        ({"column": "product", "value": "nothing of it"}, []),
        ({"outcome": "failed"}, []),
        ({"cause": "http_429"}, []),
        ({"mark": "wrong"}, []),
    ],
)
def test_filters_give_the_rows_that_fit_and_their_number(browser, reviews, given, rows):
    page = browser.get(f"/jobs/{reviews}/answers", params=given)
    assert numbers(page) == rows
    counted = browser.get(f"/jobs/{reviews}/count", params=given)
    assert counted.text.strip() == f"{len(rows)} of 60 rows"


def test_an_empty_value_is_the_rows_where_the_column_is_empty(browser, reviews):
    page = browser.get(f"/jobs/{reviews}/answers", params={"column": "answer", "value": ""})
    assert len(numbers(page)) == 50


def test_a_column_that_is_not_there_is_a_sentence(browser, reviews):
    for query in ({"sort": "nope"}, {"column": "nope", "value": "1"}):
        page = browser.get(f"/jobs/{reviews}/answers", params=query)
        assert page.status_code == 400
        assert "no such column" in page.text


@pytest.mark.parametrize(
    ("page", "query", "words"),
    [
        ("answers", {"column": "id", "low": "a few"}, "That is not a number"),
        ("download", {"format": "docx"}, "Tables are not written in that format."),
    ],
)
def test_a_link_that_was_changed_by_hand_is_a_sentence(browser, reviews, page, query, words):
    answer = browser.get(f"/jobs/{reviews}/{page}", params=query)
    assert answer.status_code == 400
    assert words in re.sub(r"\s*<[^>]*>\s*", " ", answer.text)


def test_the_bars_of_a_histogram_filter_to_as_many_rows_as_they_say(browser, reviews):
    for column in ("product", "mood", "score", "id"):
        bars = browser.get(f"/jobs/{reviews}/histogram", params={"of": column}).text
        links = re.findall(r'href="([^"]+)" title="[^"]*: (\d+) rows"', bars)
        assert links
        total = 0
        for link, rows in links:
            query = link.replace("&amp;", "&").partition("?")[2]
            counted = browser.get(f"/jobs/{reviews}/count?{query}").text.strip()
            assert counted == f"{rows} of 60 rows"
            total += int(rows)
        assert total == 60


@pytest.mark.parametrize("table_format", ["csv", "jsonl", "parquet"])
def test_a_download_of_what_is_filtered_holds_those_rows_whole(browser, reviews, table_format):
    file = browser.get(
        f"/jobs/{reviews}/download", params={"format": table_format, "text": "number 5"}
    )
    assert file.status_code == 200
    name = f"{reviews}-filtered.{table_format}"
    assert name in file.headers["content-disposition"]
    if table_format == "csv":
        rows = list(csv.DictReader(io.StringIO(file.text)))
    elif table_format == "jsonl":
        rows = [json.loads(line) for line in file.text.splitlines()]
    else:
        pyarrow = pytest.importorskip("pyarrow.parquet")
        rows = pyarrow.read_table(io.BytesIO(file.content)).to_pylist()
    assert [int(row["id"]) for row in rows] == [5, *range(50, 60)]
    assert all(row["outcome"] == "ok" for row in rows)


def test_a_download_of_all_is_the_table_of_the_job(browser, reviews, home):
    file = browser.get(f"/jobs/{reviews}/download", params={"format": "jsonl"})
    table = (home / "jobs" / reviews / "answers.jsonl").read_text(encoding="utf-8")
    assert file.text == table
    until = monotonic() + WAIT_SECONDS
    while list((home / "console" / "downloads").iterdir()):  # it goes once it was sent
        assert monotonic() < until
        browser.get("/static/icon.svg")


def test_a_download_that_a_killed_console_left_goes_with_a_later_build(tmp_path):
    home = tmp_path / "home"
    left = [
        home / "console" / "downloads" / ".0123456789abcdef.part.csv",
        home / "console" / "drafts" / ".0123456789abcdef.json.0123456789abcdef.part",
    ]
    for path in left:
        path.parent.mkdir(parents=True, mode=0o700)
        path.write_text("answers", encoding="utf-8")
        os.utime(path, (0, 0))
    home.chmod(0o700)
    (tmp_path / "rows.csv").write_text("text\na\n", encoding="utf-8")

    async def build():
        async with Jobs(settings_of(home)) as jobs:
            await jobs.create(tmp_path / "rows.csv", prompt="{{ text }}")

    anyio.run(build)
    assert not any(path.exists() for path in left)


def test_a_row_shows_its_source_request_and_answer(browser, reviews):
    page = browser.get(f"/jobs/{reviews}/rows/12").text
    for text in ("review number 11", "Judge review number 11", "Be fair.", "tokens in", "mood"):
        assert text in page
    part = browser.get(f"/jobs/{reviews}/rows/12", headers={"x-fragment": "1"}).text
    assert "<html" not in part


def test_a_query_answers_and_writes_nothing(browser, reviews):
    good = browser.get(
        f"/jobs/{reviews}/query",
        params={"sql": "SELECT product, count(*) AS n FROM results GROUP BY 1 ORDER BY 1"},
    )
    assert re.search(r"<td class=\"\">kettle</td><td class=\"number\">30</td>", good.text)
    for sql in ("DELETE FROM results", "SELECT nope FROM results", "ATTACH 'x' AS y"):
        refused = browser.get(f"/jobs/{reviews}/query", params={"sql": sql})
        assert "The query cannot be run" in refused.text


def test_marks_are_a_column_of_the_table_and_say_how_many_are_right(home, tmp_path, console):
    name = anyio.run(lambda: finish(home, write_reviews(tmp_path, 10), prompt="Say {{ review }}"))
    with console.browser() as browser:
        for row, mark in ((1, "right"), (2, "right"), (3, "wrong"), (4, "wrong"), (4, "none")):
            console.post(browser, f"/jobs/{name}/marks", row=row, mark=mark)
        judged = browser.get(f"/jobs/{name}/judge").text
        assert "66.7 %</b> right, 20.8 % to 93.9 %" in judged
        assert "3 of 10 judged" in judged
        wrong = browser.get(f"/jobs/{name}/answers", params={"mark": "wrong"})
        assert numbers(wrong) == [3]
        text = browser.get(f"/jobs/{name}/download", params={"format": "csv"}).text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["mark"] for row in rows[:5]] == ["right", "right", "wrong", "", ""]


def test_a_mark_needs_a_row_and_one_of_three_words(console, browser, reviews):
    for fields in ({"row": "999", "mark": "right"}, {"row": "1", "mark": "maybe"}, {"row": "x"}):
        assert console.post(browser, f"/jobs/{reviews}/marks", **fields).status_code in {400, 404}


def test_while_an_index_is_made_the_page_says_so_and_then_goes_on(browser, reviews, monkeypatch):
    gate, make = threading.Event(), answer_tables.answers.make_indexes

    def slow(*arguments):
        gate.wait(WAIT_SECONDS)
        make(*arguments)

    monkeypatch.setattr(answer_tables.answers, "make_indexes", slow)
    monkeypatch.setattr(answer_tables, "MANY_ROWS", 0)
    monkeypatch.setattr(answer_tables, "_WAIT_SECONDS", 0.01)
    sorted_by = f"/jobs/{reviews}/answers?sort=output_tokens"
    preparing = browser.get(sorted_by)
    assert "An index on output_tokens is being made for 60 rows" in preparing.text
    assert "An index on output_tokens" in browser.get(f"/jobs/{reviews}/answers").text
    gate.set()
    monkeypatch.setattr(answer_tables, "_WAIT_SECONDS", WAIT_SECONDS)
    until = monotonic() + WAIT_SECONDS
    while "is being made" in (page := browser.get(sorted_by).text):
        assert monotonic() < until
    assert 'class="answers"' in page


def test_while_all_rows_are_looked_through_the_page_says_so_and_then_goes_on(
    browser, reviews, monkeypatch
):
    gate, make = threading.Event(), answer_tables.answers.make_list
    find = views.answers.page

    def slow(*arguments):
        gate.wait(WAIT_SECONDS)
        make(*arguments)

    monkeypatch.setattr(answer_tables.answers, "make_list", slow)
    monkeypatch.setattr(answer_tables, "_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(
        views.answers, "page", lambda *a, **k: find(*a, **k) if gate.is_set() else None
    )
    searched = f"/jobs/{reviews}/answers?sort=id&descending=1&text=number+5"
    assert "All 60 rows are being searched" in browser.get(searched).text
    gate.set()
    monkeypatch.setattr(answer_tables, "_WAIT_SECONDS", WAIT_SECONDS)
    until = monotonic() + WAIT_SECONDS
    while "being searched" in (page := browser.get(searched)).text:
        assert monotonic() < until
    assert numbers(page) == [*range(60, 50, -1), 6]


def table_at(browser, address):
    """The page at an address once its table is there."""
    until = monotonic() + WAIT_SECONDS
    while "is being prepared" in (page := browser.get(address)).text:
        assert monotonic() < until
    return page


def test_while_a_large_table_is_made_the_page_says_so_and_then_goes_on(
    home, tmp_path, browser, monkeypatch
):
    name = anyio.run(lambda: finish(home, write_reviews(tmp_path, 5), prompt="See {{ review }}"))
    gate, make = threading.Event(), snapshots.make_snapshot

    def slow(*arguments):
        gate.wait(WAIT_SECONDS)
        return make(*arguments)

    monkeypatch.setattr(snapshots, "make_snapshot", slow)
    monkeypatch.setattr(answer_tables, "_MADE_AT_ONCE", 0)
    for _ in range(2):
        page = browser.get(f"/jobs/{name}/answers").text
        assert "The table of answers is being prepared, once: 0 of 5 rows" in page
    early = browser.get(f"/jobs/{name}/download", params={"format": "csv"})
    assert early.status_code == 400
    assert "still being prepared" in early.text
    gate.set()
    assert numbers(table_at(browser, f"/jobs/{name}/answers")) == [1, 2, 3, 4, 5]


@pytest.fixture
def gated(tmp_path):
    """A job of four rows that runs: each row but the first is answered once its gate is open."""
    home, gates = tmp_path / "home", [tmp_path / f"gate{row}" for row in (2, 3, 4)]
    holds = [
        RequestFault(fault="hold", until=str(gate), match=Match(contains=f"number {row - 1}"))
        for row, gate in zip((2, 3, 4), gates, strict=True)
    ]
    source = write_reviews(tmp_path, 4)

    async def submit():
        async with Jobs(settings_of(home)) as jobs:
            job = await jobs.create(str(source), prompt="{{ review }}")
            await job.submit()
            return job.name

    config = LocalConfig(home=home, executor="simulate", faults=Faults(requests=tuple(holds)))
    with LocalServer(config), running(home) as console, console.browser() as browser:
        yield browser, anyio.run(submit), gates


def test_a_large_table_of_a_running_job_says_that_it_is_old_and_is_never_taken_for_the_whole(
    gated, monkeypatch
):
    browser, job, gates = gated
    monkeypatch.setattr(answer_tables, "_MADE_AT_ONCE", 0)

    def until(rows):
        end = monotonic() + WAIT_SECONDS
        while f"{rows} ok" not in browser.get(f"/jobs/{job}").text:
            assert monotonic() < end
            browser.get(f"/jobs/{job}/failures")  # this asks the provider

    until(1)
    answers = f"/jobs/{job}/answers"
    assert table_at(browser, answers).text.count(">pending<") == 3
    assert "More answers have come" not in browser.get(answers).text
    gates[0].touch()
    until(2)
    old = browser.get(answers).text
    assert "More answers have come since this table was prepared" in old
    assert old.count(">pending<") == 3

    # An answer that comes while the table is made does not begin it again, without an end.
    read, is_answered, make = threading.Event(), threading.Event(), snapshots.make_snapshot

    def slow(*arguments):
        made = make(*arguments)
        read.set()
        is_answered.wait(WAIT_SECONDS)
        return made

    monkeypatch.setattr(snapshots, "make_snapshot", slow)
    anew = re.search(r'href="([^"]+fresh=1[^"]*)"', old)[1]
    assert "is being prepared" in browser.get(anew).text
    assert read.wait(WAIT_SECONDS)
    gates[1].touch()
    until(3)
    is_answered.set()
    newer = table_at(browser, anew).text
    assert newer.count(">pending<") == 2
    assert "More answers have come" in newer
    assert table_at(browser, anew).text.count(">pending<") == 1
    gates[2].touch()
    until(4)
    assert ">pending<" not in table_at(browser, answers).text


@pytest.mark.parametrize("number", ["0", "61", "-1", "1.5", "one", "²", "9" * 15, "9" * 5000])
def test_a_number_that_is_no_rows_is_said_on_a_page(console, browser, reviews, number):
    for answer in (
        browser.get(f"/jobs/{reviews}/rows/{number}"),
        console.post(browser, f"/jobs/{reviews}/marks", row=number, mark="right"),
    ):
        assert answer.status_code == 400
        assert "row" in answer.text.split("<main")[1]
    assert browser.get(f"/jobs/{reviews}/judge?place={number}").status_code == 200
