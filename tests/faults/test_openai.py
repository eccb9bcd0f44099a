"""The same promises where a server keeps OpenAI's conventions and not Doubleword's."""

import dataclasses
import json

import httpx
import pytest
import respx

from doubleword_batch.errors import InputError, Next, ProtocolError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.settings import Settings
from faults.harness import MODEL, built
from result_files import LAYOUTS, NOT_READ

BASE = "https://api.openai.test/v1"


def answer(row):
    message = {"role": "assistant", "content": f"answer {row}"}
    body = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    return result(row, response={"status_code": 200, "body": body}, error=None)


def result(row, **fields):
    return json.dumps({"id": f"batch_req_{row}", "custom_id": f"r{row}", **fields})


class OpenAI:
    """What a batch of ten rows ended as: its object, and its two files."""

    def __init__(self, router, *, output=(), error=(), file=None, **batch):
        self.created = 0
        self.batch = {
            "id": "batch_1",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-in",
            "completion_window": "24h",
            "output_file_id": "file-out" if output else None,
            "error_file_id": "file-err" if error else "",
            "created_at": 1_700_000_000,
            **batch,
        }
        file = file or {"id": "file-in", "bytes": 0, "filename": "x", "purpose": "batch"}
        nothing = {"object": "list", "data": [], "has_more": False}
        router.get("/files").respond(json=nothing)
        router.get("/batches").respond(json=nothing)
        router.post("/files").respond(json=file)
        router.get("/files/file-in").respond(json=file)
        router.post("/batches").mock(side_effect=self._create)
        router.get("/batches/batch_1").respond(json=self.batch)
        for name, lines in (("out", output), ("err", error)):
            whole = lines if isinstance(lines, str | bytes) else "".join(f"{x}\n" for x in lines)
            content = whole if isinstance(whole, bytes) else whole.encode()
            router.get(f"/files/file-{name}/content").respond(content=content)

    def _create(self, _request):
        self.created += 1
        return httpx.Response(200, json=self.batch)


def settings_of(harness):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(harness.home),
            "DOUBLEWORD_BATCH_ROOTS": str(harness.work),
            "DOUBLEWORD_API_KEY": "sk-test-key",
            "DOUBLEWORD_BASE_URL": BASE,
            "DOUBLEWORD_BATCH_PROVIDER": "openai",
        }
    )


@pytest.fixture
async def results_of(harness):
    harness.table(10)
    settings = settings_of(harness)
    with respx.mock(base_url=BASE, assert_all_called=False) as router:

        async def results(**batch):
            server = OpenAI(router, **batch)
            lazy_workspace = LazyWorkspace(settings, max_retry_seconds=0)
            try:
                ws = await lazy_workspace.get()
                job = await built(ws, model=MODEL)
                await create_batch(ws, job)
                found = await fetch_results(ws, job, sample=0)
            finally:
                await lazy_workspace.close()
            assert server.created == 1
            return found

        yield results


async def test_a_batch_that_expired_with_sixty_percent_done_yields_them(results_of):
    expired = {"code": "batch_expired", "message": "This request could not be executed in time."}
    found = await results_of(
        status="expired",
        output=[answer(row) for row in range(1, 7)],
        error=[result(row, response=None, error=expired) for row in range(7, 11)],
        request_counts={"total": 10, "completed": 6, "failed": 4},
    )
    assert found.ledger == {"ok": 6, "expired": 4}
    assert found.next == Next("retry_failed", {"job": found.job})


async def test_a_batch_that_expired_without_lines_for_the_rest_yields_what_is_there(results_of):
    found = await results_of(
        status="expired",
        output=[answer(row) for row in range(1, 7)],
        request_counts={"total": 10, "completed": 6, "failed": 0},
    )
    assert found.ledger == {"ok": 6, "expired": 4}


async def test_all_rows_failed_is_a_completed_batch_without_an_output_file(results_of):
    body = {"error": {"message": "no such model", "code": "model_not_found"}}
    failed = [
        result(row, response={"status_code": 404, "body": body}, error=None) for row in range(1, 11)
    ]
    found = await results_of(
        status="completed",
        error=failed,
        request_counts={"total": 10, "completed": 0, "failed": 10},
    )
    assert found.ledger == {"failed": 10}
    assert found.errors[0].cause == "http_404"


async def test_a_batch_refused_after_its_creation_fails_every_row_and_says_why(results_of):
    wrong = {"data": [{"code": "invalid", "line": 3, "message": "bad url"}]}
    found = await results_of(status="failed", errors=wrong, request_counts=None)
    assert found.ledger == {"failed": 10}
    assert found.errors[0].cause == "batch_failed"
    assert any("bad url" in warning for warning in found.warnings)


async def test_a_batch_that_failed_without_a_reason_and_without_counts_fails_every_row(results_of):
    found = await results_of(
        status="failed", model="mixed", request_counts={"total": 0, "completed": 0, "failed": 0}
    )
    assert found.ledger == {"failed": 10}
    assert found.errors[0].cause == "batch_failed"


@pytest.mark.parametrize(
    "wrong",
    [
        [{"code": "invalid", "message": "bad url"}],
        {"data": {"message": "bad url"}},
        "bad url",
    ],
)
async def test_what_a_server_says_of_a_refused_batch_is_read_whatever_it_stands_in(
    results_of, wrong
):
    found = await results_of(status="FAILED", errors=wrong, request_counts=None)
    assert found.ledger == {"failed": 10}
    assert any("bad url" in warning for warning in found.warnings)


async def test_an_object_whose_fields_have_other_types_is_not_a_lost_reply(results_of):
    found = await results_of(
        file={"id": "file-in", "bytes": "12 KB", "filename": 7, "purpose": ["batch"]},
        id="batch_1",
        status="JOB_STATE_SUCCEEDED",
        endpoint=None,
        errors={"object": "list", "data": None},
        output=[answer(row) for row in range(1, 11)],
        request_counts="10",
        created_at=1_700_000_000_000_000,
    )
    assert found.ledger == {"ok": 10}


async def test_lines_of_others_cut_lines_and_lines_in_any_order_do_no_harm(results_of):
    foreign = json.dumps({"id": "x", "custom_id": "somebody-else", "response": None})
    lines = [answer(row) for row in (9, 2, 2, 10, 1, 3, 8, 7, 6, 5, 4)]
    found = await results_of(
        status="completed",
        output=[foreign, *lines, '{"custom_id": "r1", "respon', "null", "[]", foreign],
        request_counts={"total": 10, "completed": 10, "failed": 0},
    )
    assert found.ledger == {"ok": 10}
    assert any("not in this job" in warning for warning in found.warnings)
    assert any("not result lines" in warning for warning in found.warnings)


USUAL = (  # of all that tests/unit/test_result_files.py tries
    "a list on a line", "a list of lines", "events", "a page printed over many lines",
    "UTF-16 with a mark", "packed with gzip",
)  # fmt: skip


@pytest.mark.parametrize("layout", USUAL)
async def test_no_answer_is_missing_because_of_what_stands_between_the_lines(results_of, layout):
    lines = [answer(row).replace("answer", r"a \"}{\" é answer") for row in range(1, 11)]
    found = await results_of(
        status="completed",
        output=LAYOUTS[layout](lines),
        request_counts={"total": 10, "completed": 10, "failed": 0},
    )
    assert found.ledger == {"ok": 10}


@pytest.mark.parametrize("kind", ["Zstandard", "words", "an empty page"])
async def test_answers_in_a_file_that_cannot_be_read_are_not_missing(results_of, kind):
    content, words = NOT_READ[kind]
    with pytest.raises(ProtocolError, match=words) as caught:
        await results_of(status="completed", output=content, request_counts=None)
    assert "Nothing has to be paid again" in caught.value.hint


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_answers_of_a_batch_come_though_another_has_a_file_that_cannot_be_read(
    harness, respx_mock
):
    harness.table(10)
    batch = {"status": "completed", "request_counts": {"total": 5, "completed": 5, "failed": 0}}
    first = OpenAI(respx_mock, output=["later"], **batch)
    second = first.batch | {"id": "batch_2", "output_file_id": "file-odd"}
    respx_mock.post("/batches").mock(
        side_effect=[httpx.Response(200, json=first.batch), httpx.Response(200, json=second)]
    )
    respx_mock.get("/batches/batch_2").respond(json=second)
    respx_mock.get("/files/file-odd/content").respond(content=b"neither\nline\n")
    lazy_workspace = LazyWorkspace(settings_of(harness), max_retry_seconds=0)
    try:
        ws = await lazy_workspace.get()
        small = ws.profile.model_copy(update={"max_requests": 5})
        ws = dataclasses.replace(ws, profile=small)
        job = await built(ws, model=MODEL)
        await create_batch(ws, job)
        stored = StoredJob.named(ws, job)
        part = next(run.part for run in stored.batch_runs() if run.batch_id == "batch_1")
        number = next(found.number for found in stored.parts() if found.id == part)
        lines = "".join(f"{answer(row)}\n" for row in range(5 * number - 4, 5 * number + 1))
        respx_mock.get("/files/file-out/content").respond(content=lines.encode())
        found = await fetch_results(ws, job, sample=0)
    finally:
        await lazy_workspace.close()
    assert found.ledger == {"ok": 5, "pending": 5}
    assert any("batch_2 hold no line that can be read" in words for words in found.warnings)


@respx.mock(base_url=BASE, assert_all_called=False)
async def test_rows_whose_files_stay_unreadable_can_be_given_up_and_still_come_later(
    harness, respx_mock
):
    harness.table(10)
    OpenAI(
        respx_mock,
        output=["later"],
        status="completed",
        request_counts={"total": 10, "completed": 10, "failed": 0},
    )
    content = respx_mock.get("/files/file-out/content")
    content.respond(content=b"neither\nline\n")
    lazy_workspace = LazyWorkspace(settings_of(harness), max_retry_seconds=0)
    try:
        ws = await lazy_workspace.get()
        job = await built(ws, model=MODEL)
        await create_batch(ws, job)
        with pytest.raises(ProtocolError, match="Cancelling the job gives these rows up"):
            await fetch_results(ws, job)
        given_up = await cancel(ws, job)
        after = await fetch_results(ws, job, sample=0)
        with pytest.raises(InputError) as refused:
            await retry_failed(ws, job)
        again = await cancel(ws, job)
        content.respond(content="".join(f"{answer(row)}\n" for row in range(1, 11)).encode())
        late = await fetch_results(ws, job, sample=0)
    finally:
        await lazy_workspace.close()
    assert given_up.note.startswith("Nothing was running. 10 rows are given up")
    assert (after.ledger, after.errors[0].cause, after.next) == (
        {"missing": 10},
        "unreadable",
        None,
    )
    assert refused.value.code == "nothing_to_retry"
    assert again.note == "Nothing was running: it was completed already."
    assert late.ledger == {"ok": 10}


async def test_lines_that_are_read_again_are_counted_once(results_of):
    found = await results_of(
        status="completed",
        output=["no line", "none", *(answer(row) for row in range(1, 9))],
        request_counts={"total": 10, "completed": 10, "failed": 0},
    )
    assert found.ledger == {"ok": 8, "pending": 2}
    assert "2 lines that are not result lines were ignored" in found.warnings


async def test_a_custom_id_of_ours_with_another_label_is_nobodys_answer(results_of):
    impostor = json.dumps({**json.loads(answer(1)), "custom_id": "r1-other"})
    found = await results_of(
        status="completed",
        output=[impostor, *(answer(row) for row in range(2, 11))],
        request_counts={"total": 10, "completed": 10, "failed": 0},
    )
    assert found.ledger == {"ok": 9, "pending": 1}
