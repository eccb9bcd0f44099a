"""The scripts read a file of results in any form and layout, to the outcomes of the package."""

import json

import pytest

from result_files import LAYOUTS, NOT_READ
from skill.in_process import script_module
from skill.servers import answering

api, collection, ending, ledger, settings = (
    script_module(name) for name in ("api", "collection", "ending", "ledger", "settings")
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
            file = collection.LineFile(tmp_path / "out.jsonl", 10)
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
    assert [(one.outcome, one.answer) for one in readings] == [("ok", 'a \\"}{\\" é')] * 10


@pytest.mark.parametrize("kind", NOT_READ)
def test_answers_in_a_file_that_cannot_be_read_are_not_called_lost(read, kind):
    content, words = NOT_READ[kind]
    with pytest.raises(ending.Stop, match=f"{words}|no line of it can be read|no result lines"):
        read(content)
