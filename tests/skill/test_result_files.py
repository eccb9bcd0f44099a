"""The scripts read a file of results in any form and layout, to the outcomes of the package."""

import json

import pytest

from result_files import LAYOUTS, NOT_READ
from skill.places import script_module
from skill.servers import answering

answers, api, result_files, file_encoding, cli, ledger, settings = (
    script_module(name)
    for name in ("answers", "api", "result_files", "file_encoding", "cli", "ledger", "settings")
)


def answer(row):
    body = {"choices": [{"message": {"content": 'a \\"}{\\" é'}, "finish_reason": "stop"}]}
    return json.dumps({"custom_id": f"r{row}", "response": {"status_code": 200, "body": body}})


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a file that a server keeps; the file that comes of it."""
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "sk-test-key")

    def read(content):
        with answering(200, content, {"Content-Length": str(len(content))}) as (url, _):
            monkeypatch.setenv("DOUBLEWORD_BASE_URL", url)
            file = result_files.LineFile(tmp_path / "out.jsonl", 10)
            file.read_on(api.Api(settings.read_settings(), 0), "/files/f/content")
        file.refuse_if_unreadable()
        file.publish()
        return file.path

    return read


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_answer_is_lost_because_of_what_stands_between_the_lines(read, layout):
    path = read(LAYOUTS[layout]([answer(row) for row in range(1, 11)]))
    names = [f"r{row}" for row in range(1, 11)]
    readings = list(ledger.Ledger([path]).readings(names))
    assert [(reading.outcome, reading.answer) for reading in readings] == [
        ("ok", 'a \\"}{\\" é')
    ] * 10


def test_a_line_in_which_the_reader_makes_a_mistake_costs_no_other_its_answer(read, monkeypatch):
    def mistaken(body):
        raise TypeError("unhashable type: 'list'")

    odd = '{"custom_id": "r2", "response": {"status_code": 200, "body": {"choices": [1]}}}'
    path = read("\n".join([answer(1), odd, answer(3)]).encode())
    normal = answers.answer_of
    monkeypatch.setattr(
        answers, "answer_of", lambda body: (mistaken if body["choices"] == [1] else normal)(body)
    )
    readings = list(ledger.Ledger([path]).readings(["r1", "r2", "r3"]))
    assert [reading.outcome for reading in readings] == ["ok", "invalid", "ok"]
    assert (readings[1].cause, readings[1].answer) == ("unknown_body", odd)


@pytest.mark.parametrize("kind", NOT_READ)
def test_answers_in_a_file_that_cannot_be_read_are_not_called_lost(read, kind):
    content, words = NOT_READ[kind]
    with pytest.raises(cli.ScriptError, match=f"{words}|no line of it can be read|no result lines"):
        read(content)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_downloaded_by_hand_is_read_in_any_layout(layout, tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(LAYOUTS[layout]([answer(row) for row in range(1, 11)]))
    with file_encoding.in_lines([path]) as files:
        found = ledger.Ledger(files)
        readings = list(found.readings([f"r{row}" for row in range(1, 11)]))
    assert [(row.outcome, row.answer) for row in readings] == [("ok", 'a \\"}{\\" é')] * 10
    assert found.unreadable == (2 if layout == "a list of lines" else 0)  # its brackets
    assert files[0] == path or not files[0].exists()


@pytest.mark.parametrize("kind", [kind for kind in NOT_READ if "read" not in NOT_READ[kind][1]])
def test_what_cannot_be_read_of_a_file_downloaded_by_hand_is_said(kind, tmp_path):
    path = tmp_path / "out.bin"
    content, words = NOT_READ[kind]
    path.write_bytes(content)
    with pytest.raises(cli.ScriptError, match=words), file_encoding.in_lines([path]):
        raise AssertionError


def test_a_packed_file_that_was_cut_is_not_taken_for_a_whole_one(tmp_path):
    path = tmp_path / "out.gz"
    path.write_bytes(LAYOUTS["packed with gzip"]([answer(row) for row in range(1, 11)])[:-20])
    with pytest.raises(cli.ScriptError, match="was cut"), file_encoding.in_lines([path]):
        raise AssertionError


def test_the_summary_reads_a_packed_list_downloaded_by_hand(run, work, requests_of):
    requests_of(10)
    packed = LAYOUTS["packed with gzip, a list in UTF-16"]([answer(row) for row in range(1, 11)])
    (work / "out.gz").write_bytes(packed)
    done = run("summarize_results.py", "out.gz", "--requests", "requests.jsonl")
    assert done.out.startswith("10 requests: 10 ok")
    assert done.code == 0
