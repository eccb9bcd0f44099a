"""Nothing is paid for twice: earlier answers are taken over."""

import json
import shutil

import pytest

from doubleword_batch import InputError, Jobs, StoreError, run
from doubleword_batch.jobs.reuse import key_file
from doubleword_batch.requests import keys, lines
from library.tables import PROMPT, Sent, answers, done, table, texts


async def test_three_changed_rows_of_a_thousand_are_three_requests(settings, tmp_path):
    path, rows = tmp_path / "rows.csv", texts(1_000)
    async with Jobs(settings) as jobs:
        first, before = await done(jobs, table(path, rows))
        rows[3], rows[500], rows[999] = "new 1", "new 2", "new 3"
        job, results = await done(jobs, table(path, rows))
        status = await job.status()
        listed = (await jobs.list()).lines[0]
        assert await Sent(jobs).requests(job) == 3
    created, reply = job.created, results.reply
    assert (created.rows, created.requests, created.reused_rows) == (1_000, 3, 997)
    assert created.reused_from[0].startswith(f"job {first.name} (997 rows, ")
    assert "997 rows were answered before" in created.warnings[0]
    assert (reply.ledger, reply.reused_rows) == ({"ok": 1_000}, 997)
    assert (status.reused_rows, status.counts.completed, status.percent) == (997, 1_000, 100.0)
    assert "1000 rows, 997 reused" in listed
    assert (reply.input_tokens, reply.output_tokens) < (
        before.reply.input_tokens,
        before.reply.output_tokens,
    )
    old = {text: answer for text, _, answer in answers(before)}
    new = answers(results)
    assert [text for text, _, _ in new] == rows
    assert all(answer == old[text] for text, _, answer in new if text in old)
    origins = [row["origin"] for row in results.rows()]
    assert origins.count(None) == 3
    assert origins[3] is None
    assert origins[0].startswith(f"job:{first.name}, 20")


async def test_the_estimate_is_that_of_what_is_sent(settings, tmp_path):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "old.csv", texts(50)))
        new = [*texts(50), "new 1", "new 2", "new 1"]
        mixed = await jobs.create(table(tmp_path / "mixed.csv", new), prompt=PROMPT, model="m")
        alone = await jobs.create(
            table(tmp_path / "alone.csv", ["new 1", "new 2"]), prompt=PROMPT, model="m"
        )
    first, other = mixed.created, alone.created
    assert (first.requests, first.reused_rows, first.shared_rows) == (2, 50, 1)
    assert (first.input_tokens, first.output_tokens) == (other.input_tokens, other.output_tokens)


async def test_a_job_of_which_all_was_answered_sends_nothing(settings, tmp_path):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "old.csv", texts(20)))
        job = await jobs.create(table(tmp_path / "new.csv", texts(7)), prompt=PROMPT, model="m")
        assert (job.created.requests, job.created.next.tool) == (0, "fetch_results")
        assert (job.created.cost_usd, job.created.cost_note[:15]) == (0, "nothing is sent")
        submitted = await job.submit(max_cost_usd=0)
        assert (submitted.batch_ids, submitted.status) == ([], "completed")
        status = await job.wait(5)
        assert (status.complete, status.counts.completed) == (True, 7)
        results = await job.results()
        assert results.reply.ledger == {"ok": 7}
        assert results.reply.cost_usd == 0
        with pytest.raises(InputError) as nothing:
            await job.retry()
        assert nothing.value.code == "nothing_to_retry"
        assert (await job.cancel()).stopped == 0
        with pytest.raises(InputError) as kept:
            await job.delete()
        assert kept.value.code == "not_confirmed"


async def test_a_copy_of_no_requests_is_not_written_and_the_reply_says_so(settings, tmp_path):
    copy = tmp_path / "requests.jsonl"
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "old.csv", texts(7)))
        new = table(tmp_path / "new.csv", texts(5))
        for _ in range(2):  # built, and there already
            job = await jobs.create(new, prompt=PROMPT, model="m", output_path=copy)
            assert (job.created.requests, job.created.paths) == (0, [])
            assert "requests.jsonl was not written" in " ".join(job.created.warnings)
    assert not copy.exists()


async def test_the_whole_job_takes_the_rows_of_its_pilot_over(settings, tmp_path):
    path = table(tmp_path / "rows.csv", texts(30))
    async with Jobs(settings) as jobs:
        pilot, _ = await done(jobs, path, limit=10)
        whole, results = await done(jobs, path)
        assert await Sent(jobs).requests(pilot, whole) == 30
    assert (whole.created.requests, results.reply.ledger) == (20, {"ok": 30})


async def test_taken_answers_outlive_the_job_that_they_come_from(settings, tmp_path):
    async with Jobs(settings) as jobs:
        first, before = await done(jobs, table(tmp_path / "old.csv", texts(5)))
        kept = answers(before)
        second, _ = await done(jobs, table(tmp_path / "new.csv", [*texts(5), "more"]))
        await first.delete(force=True)
        assert answers(await second.results())[:5] == kept
        third = await jobs.create(table(tmp_path / "third.csv", texts(4)), prompt=PROMPT, model="m")
    assert third.created.requests == 0
    assert first.name in third.created.reused_from[0]  # where the answer comes from first


@pytest.mark.parametrize(
    "otherwise",
    [
        {"new_run": True},
        {"params": {"max_tokens": 7}},
        {"system": "Be short."},
        {"response_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"options": {"reuse_days": 1e-9}},
    ],
)
async def test_answers_to_something_else_are_not_taken(settings, tmp_path, otherwise):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "old.csv", texts(5)))
        job = await jobs.create(
            table(tmp_path / "new.csv", texts(5)), prompt=PROMPT, model="m", **otherwise
        )
    assert (job.created.requests, job.created.reused_rows) == (5, None)


async def test_answers_can_be_taken_from_one_job_alone(settings, tmp_path):
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "one.csv", ["a", "b"]))
        await done(jobs, table(tmp_path / "two.csv", ["c", "d"]))
        path = table(tmp_path / "new.csv", ["a", "b", "c", "d"])
        asked = {"prompt": PROMPT, "model": "m"}
        job = await jobs.create(path, **asked, options={"reuse_from": first.name, "reuse_days": 2})
        assert (job.created.requests, job.created.reused_rows) == (2, 2)
        for options, code in (
            ({"reuse_from": "nobody"}, "unknown_job"),
            ({"reuse_days": 0}, "invalid_argument"),
            ({"equal_rows": "twice"}, "invalid_argument"),
        ):
            with pytest.raises(InputError) as wrong:
                await jobs.create(path, **asked, options=options)
            assert wrong.value.code == code
        with pytest.raises(InputError, match="new run uses no earlier answers"):
            await jobs.create(path, **asked, new_run=True, options={"reuse_days": 1})


async def test_samples_are_taken_over_one_by_one(settings, tmp_path):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "a.csv", ["a", "a"]), params={"temperature": 1})
        more = table(tmp_path / "b.csv", ["a", "a", "a"])
        job = await jobs.create(more, prompt=PROMPT, model="m", params={"temperature": 1})
    assert (job.created.requests, job.created.reused_rows) == (1, 2)


async def test_what_a_retry_asked_with_other_parameters_is_not_an_answer_to_the_old_request(
    settings, tmp_path
):
    rows = ["flaky", "fine"]
    async with Jobs(settings) as jobs:
        job, _ = await done(jobs, table(tmp_path / "rows.csv", rows), params={"seed": 1})
        for params in ({"seed": 2}, None):  # asked so, it fails once more; the repeat asks the same
            await job.retry(params=params)
            await job.wait(60)
            results = await job.results()
        assert results.reply.ledger == {"ok": 2}
        more = table(tmp_path / "more.csv", [*rows, "new"])
        anew = await jobs.create(more, prompt=PROMPT, model="m", params={"seed": 1})
    assert (anew.created.requests, anew.created.reused_rows) == (2, 1)


async def test_a_failed_row_is_not_an_answer_and_a_cancelled_one_neither(settings, tmp_path):
    held = ["held", "other", "held"]
    async with Jobs(settings) as jobs:
        job = await jobs.create(table(tmp_path / "held.csv", held), prompt=PROMPT, model="m")
        await job.submit()
        running = await jobs.create(table(tmp_path / "b.csv", held[:1]), prompt=PROMPT, model="m")
        assert running.created.requests == 1  # what is on its way is not an answer yet
        await job.cancel()
        await job.wait(60)
        ledger = (await job.results()).reply.ledger
        assert sum(ledger.values()) == 3
        assert ledger["cancelled"] >= 2
        later = await jobs.create(table(tmp_path / "c.csv", ["held"]), prompt=PROMPT, model="m")
    assert later.created.requests == 1


async def test_a_key_file_or_a_copy_that_is_damaged_is_not_an_answer(settings, tmp_path):
    asked = {"prompt": PROMPT, "model": "m"}
    async with Jobs(settings) as jobs:
        job, _ = await done(jobs, table(tmp_path / "a.csv", texts(3)))
        folder = settings.home / "jobs" / job.name
        keys, copy = (folder / "keys.bin"), next(folder.glob("batch-run-*-output.jsonl"))
        content, lines = keys.read_bytes(), copy.read_bytes()
        copy.write_bytes(lines[::-1])
        first = await jobs.create(table(tmp_path / "b.csv", texts(2)), **asked)
        copy.write_bytes(lines)
        keys.write_bytes(content[:-1])
        three = await jobs.create(table(tmp_path / "d.csv", texts(2)), **asked, new_run=False,
                                  options={"name": "three"})  # fmt: skip
        keys.write_bytes(content)
    assert first.created.reused_rows is None
    assert f"2 rows were sent before by job {job.name} (2)" in first.created.warnings[0]
    assert three.created.requests in {0, 2}


async def test_images_are_told_apart_by_their_content(settings, tmp_path):
    pixel = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    import base64

    png = base64.b64decode(pixel)
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.png").write_bytes(png + name[0].encode() * (name == "three"))
    path = tmp_path / "images.csv"
    path.write_text("picture\none.png\ntwo.png\nthree.png\n", encoding="utf-8")
    asked = {"prompt": "What is it?", "model": "vision", "image_column": "picture"}
    async with Jobs(settings) as jobs:
        job = await jobs.create(path, **asked)
        assert (job.created.requests, job.created.shared_rows) == (2, 1)
        await job.submit()
        await job.wait(60)
        await job.results()
        shutil.copy(tmp_path / "one.png", tmp_path / "moved.png")
        other = tmp_path / "others.csv"
        other.write_text("picture\nmoved.png\n", encoding="utf-8")
        again = await jobs.create(other, **asked)
        same = await jobs.create(path, **asked)
    assert again.created.requests == 0
    assert same.created.reused


async def test_a_run_over_a_grown_table_pays_for_what_is_new(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("DOUBLEWORD_BATCH_HOME", str(settings.home)),
        ("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "simulate"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DOUBLEWORD_API_KEY", raising=False)
    path = table(tmp_path / "rows.csv", texts(4))
    first = await _run(path)
    table(path, [*texts(4), "one more", "row 0"])
    second = await _run(path)
    assert (first.reply.ledger, second.reply.ledger) == ({"ok": 4}, {"ok": 6})
    assert second.reply.reused_rows == 5
    assert json.loads(second.path.read_text(encoding="utf-8").splitlines()[5])["origin"]


async def _run(path):
    import anyio

    return await anyio.to_thread.run_sync(lambda: run(path, prompt=PROMPT))


async def test_rows_whose_requests_were_put_together_are_left_out_all_the_same(settings, tmp_path):
    """Requests that begin alike stand together, so the lines of a file are not in row order."""
    documents = [f"document {n} " + "word " * 1_000 for n in range(3)]
    rows = [f"{documents[n % 3]} question {n % 12} of {n // 24}" for n in range(24 * 2)]
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "old.csv", rows[:20]))
        job, results = await done(jobs, table(tmp_path / "new.csv", rows))
        assert await Sent(jobs).requests(first, job) == len(set(rows))
    assert results.reply.ledger == {"ok": 48}
    assert [row["text"] for row in results.rows()] == rows
    found = {}
    for row in results.rows():
        assert found.setdefault(row["text"], row["answer"]) == row["answer"]


async def test_answers_that_were_all_taken_over_are_a_source_as_others_are(settings, tmp_path):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "old.csv", texts(4)))
        job, _ = await done(jobs, table(tmp_path / "new.csv", texts(3)))
        assert job.created.requests == 0
        next_job = await jobs.create(f"job:{job.name}", prompt="Judge {{ answer }}", model="m")
    assert next_job.created.requests == 3


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 0.0, "top_p": 1.0}, {"top_p": 1, "temperature": 0, "seed": None}),
        ({"stop": None, "logit_bias": {"5": -1e2}}, {"logit_bias": {"5": -100}}),
    ],
)
async def test_parameters_that_are_equal_by_value_ask_the_same(settings, tmp_path, before, now):
    async with Jobs(settings) as jobs:
        await done(jobs, table(tmp_path / "rows.csv", texts(4)), params=before)
        again = await jobs.create(
            table(tmp_path / "rows.csv", texts(5)), prompt=PROMPT, model="m", params=now
        )
        assert (again.created.requests, again.created.reused_rows) == (1, 4)


async def test_answers_under_the_keys_of_earlier_versions_are_found(
    settings, tmp_path, monkeypatch
):
    """Those told 0 from 0.0 and a null from nothing, and said so in the mark of their key file."""
    asked = {"params": {"temperature": 0.0, "seed": None}}
    async with Jobs(settings) as jobs:
        with monkeypatch.context() as before:
            before.setattr(keys, "by_value", lambda fields: fields)
            before.setattr(lines, "by_value", lambda fields: fields)
            before.setattr(key_file, "_MARK", b"dwbkeys1")
            await done(jobs, table(tmp_path / "rows.csv", texts(4)), **asked)
        job, _ = await done(jobs, table(tmp_path / "rows.csv", texts(5)), **asked)
        assert (job.created.requests, job.created.reused_rows) == (1, 4)
        folder = tmp_path / "home" / "jobs" / job.name
        assert [path.name for path in folder.glob("*keys*")] == ["keys.bin"]
        plain = {"params": {"temperature": 0}}
        job = await jobs.create(
            table(tmp_path / "rows.csv", texts(6)), prompt=PROMPT, model="m", **plain
        )
        assert (job.created.requests, job.created.reused_rows) == (1, 5)


async def test_a_job_whose_request_file_is_gone_is_built_again_by_the_same_call(settings, tmp_path):
    path = table(tmp_path / "rows.csv", texts(3))
    async with Jobs(settings) as jobs:
        job = await jobs.create(path, prompt=PROMPT, model="m")
        (settings.home / "jobs" / job.name / "part-0001.jsonl").unlink()
        with pytest.raises(StoreError, match="Build the job again with the same arguments") as gone:
            await job.submit()
        assert gone.value.code == "request_file_gone"
        again, results = await done(jobs, path)
        assert await Sent(jobs).requests(again) == 3
    assert results.reply.ledger == {"ok": 3}
