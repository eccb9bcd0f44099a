"""One row on a page: where its source, its request and its answer are taken from."""

import json

import anyio
import pytest

from doubleword_batch import Jobs
from doubleword_batch.jobs.views import row as row_views
from running_console import ended, finish, settings_of


def finished(console, path, **request):
    """A job of a console, from its source to its end."""
    return anyio.run(lambda: finish(console.home, path, **request))


def adopted(console, browser, path, endpoint, lines):
    """A job of a batch that somebody else made of these lines."""

    async def make():
        async with Jobs(settings_of(console.home)) as jobs:
            client = (await jobs.workspace()).client
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            file = await client.files.upload(path)
            created = await client.batches.create(
                input_file_id=file.id, endpoint=endpoint, completion_window="24h"
            )
            return created.id

    reply = console.post(browser, "/provider/adopt", id=anyio.run(make))
    job = reply.headers["location"].rpartition("/")[2]
    ended(browser, job)
    browser.get(f"/jobs/{job}/answers")
    return job


def line(endpoint, custom_id="a", **body):
    request = {"custom_id": custom_id, "method": "POST", "url": endpoint}
    return json.dumps(request | {"body": {"model": "simulated-chat", **body}})


def request_on(browser, job, number):
    page = browser.get(f"/jobs/{job}/rows/{number}").text
    return page.partition("<summary>Request</summary>")[2]


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SEEN = {"role": "user", "content": [{"type": "text", "text": "Look at this."}, IMAGE]}


@pytest.mark.parametrize(
    ("endpoint", "body", "shown"),
    [
        (RESPONSES, {"input": {"odd": "an object"}}, ["an object"]),
        (RESPONSES, {"instructions": "Be brief.", "input": ["a text"]}, ["Be brief.", "a text"]),
        (CHAT, {"messages": [SEEN]}, ["Look at this.\n[image]"]),
    ],
)
def test_a_request_made_elsewhere_is_shown_as_it_is_whatever_it_asks(
    console, browser, tmp_path, endpoint, body, shown
):
    job = adopted(console, browser, tmp_path / "odd.jsonl", endpoint, [line(endpoint, **body)])
    page = request_on(browser, job, 1)
    assert [text for text in shown if text in page] == shown
    assert "iVBOR" not in page


def test_of_requests_made_elsewhere_that_share_a_name_each_row_shows_its_own(
    console, browser, tmp_path
):
    texts = [f"Ask number {number} of the twins." for number in range(3)]
    lines = [
        line(CHAT, "é", messages=[{"role": "user", "content": text}])  # written with an escape
        for text in texts
    ]
    job = adopted(console, browser, tmp_path / "twins.jsonl", CHAT, lines)
    for number, text in enumerate(texts, start=1):
        page = request_on(browser, job, number)
        assert [other for other in texts if other in page] == [text]


def test_a_row_shows_its_own_request_though_another_asks_with_its_name(console, browser, tmp_path):
    source = tmp_path / "names.csv"
    source.write_text("id,text\nr,r2-s\ns,the second\n", encoding="utf-8")
    job = finished(console, source, prompt="{{ text }}", id_column="id")
    page = request_on(browser, job, 2)
    assert "the second" in page
    assert ">r2-s<" not in page


def test_a_row_that_shares_an_answer_shows_the_request_that_was_sent(console, browser, tmp_path):
    source = tmp_path / "equal.csv"
    source.write_text("text\nthe same thing\nanother thing\nthe same thing\n", encoding="utf-8")
    job = finished(console, source, prompt="What of {{ text }}?")
    assert "What of the same thing?" in request_on(browser, job, 3)


@pytest.mark.parametrize("left", [None, b"", b'{"custom_id":"r1","bo'])
def test_a_row_whose_request_is_lost_says_so_and_shows_the_rest(console, browser, tmp_path, left):
    source = tmp_path / "lost.csv"
    source.write_text(f"text\nof a lost file {len(left or '')}\n", encoding="utf-8")
    job = finished(console, source, prompt="Judge {{ text }}")
    for path in (console.home / "jobs" / job).glob("part-*.jsonl"):
        path.unlink()
        if left is not None:
            path.write_bytes(left)
    page = browser.get(f"/jobs/{job}/rows/1").text
    assert "The request is not on this machine" in page
    assert "of a lost file" in page


def test_a_row_whose_answers_file_is_gone_still_opens(console, browser, tmp_path):
    source = tmp_path / "lost.csv"
    source.write_text("text\nthat had an answer\n", encoding="utf-8")
    job = finished(console, source, prompt="Judge {{ text }}")
    assert "[simulated]" in browser.get(f"/jobs/{job}/rows/1").text
    for path in (console.home / "jobs" / job).glob("batch-run-*.jsonl"):
        path.unlink()
    page = browser.get(f"/jobs/{job}/rows/1")
    assert page.status_code == 200
    assert "that had an answer" in page.text
    assert "[simulated]" not in page.text


def test_a_row_of_a_source_that_has_changed_is_shown_from_the_jobs_own_copy(
    console, browser, tmp_path
):
    source = tmp_path / "changed.csv"
    source.write_text("text,note\nas it was,kept nowhere\n", encoding="utf-8")
    job = finished(console, source, prompt="Judge {{ text }}")
    source.write_text("text,note\nas it is,new\n", encoding="utf-8")
    page = browser.get(f"/jobs/{job}/rows/1").text
    assert "The source has changed since the job was built." in page
    assert "the job&#39;s own copy of the row" in page
    assert "<dd>as it was</dd>" in page
    assert "as it is" not in page
    (console.home / "jobs" / job / "source-rows.jsonl").unlink()
    page = browser.get(f"/jobs/{job}/rows/1").text
    assert "The source has changed since the job was built." in page
    assert "own copy" not in page
    assert "<dd>as it was</dd>" not in page


def test_a_row_far_down_a_source_is_taken_from_the_table_of_answers(
    console, browser, tmp_path, monkeypatch
):
    source = tmp_path / "far.csv"
    rows = "".join(f"{number},text {number}\n" for number in range(1, 6))
    source.write_text(f"id,text\n{rows}", encoding="utf-8")
    job = finished(console, source, prompt="Judge {{ text }}")
    monkeypatch.setattr(row_views, "_READ_TO", 3)
    before = browser.get(f"/jobs/{job}/rows/4").text
    browser.get(f"/jobs/{job}/answers")  # makes the table
    source.unlink()
    assert browser.get(f"/jobs/{job}/rows/4").text == before
    assert "<dd>text 4</dd>" in before
    assert "own copy of the row" in browser.get(f"/jobs/{job}/rows/3").text


def test_a_row_of_vectors_shows_its_numbers(console, browser, tmp_path):
    source = tmp_path / "vectors.csv"
    source.write_text("text\nto be placed\n", encoding="utf-8")
    job = finished(
        console,
        source,
        prompt="{{ text }}",
        model="simulated-embedding",
        endpoint="/v1/embeddings",
    )
    page = browser.get(f"/jobs/{job}/rows/1").text
    vector = page.partition('<pre class="text">')[2].partition("</pre>")[0]
    assert len(json.loads(vector)) > 1
