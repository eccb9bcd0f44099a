"""A table in place of a request file is called one, by the tools and by the skill alike."""

import json

import pytest

from agent import agent
from doubleword_batch.requests.table_detection import detect_table
from doubleword_batch.settings import Settings
from skill.places import script_module

REQUEST = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/x", "body": {}}) + "\n"
TABLES = {
    "reviews.csv": b"id,text\n1,good\n",
    "reviews.CSV.gz": b"\x1f\x8b\x08",
    "reviews.txt": b"id;text\n1;good\n",
    "book.xlsx": b"PK\x03\x04rest",
    "odd.jsonl": b"PAR1rest",
    "array.json": b'[{"text": "a"}]',
    "long.json": b'[\n {"text": "a"}\n]',
    "rows.jsonl": b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
    "empty.tsv": b"",
}
OTHERS = {
    "requests.jsonl": REQUEST.encode(),
    "requests.csv": REQUEST.encode(),
    "lacking.jsonl": b'{"custom_id": "a"}\n',
    "array.json": f"[{REQUEST}]".encode(),
    "broken.jsonl": b'{"custom_id": "a", \n',
    "prose.txt": b"Dear Sir, thank you.\n\n",
    "empty.jsonl": b"",
    "list.jsonl": b"[1]\n",
}


def kinds(path):
    return detect_table(path), script_module("tables").other_table(path)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_known_by_its_content_and_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    ours, skills = kinds(path)
    assert ours is not None
    assert ours == skills


@pytest.mark.parametrize("name", OTHERS)
def test_what_may_hold_requests_is_left_to_the_check_of_its_lines(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(OTHERS[name])
    assert kinds(path) == (None, None)


async def test_an_upload_of_a_table_says_how_to_make_a_job_of_it(tmp_path):
    (tmp_path / "rows.json").write_text('[{"text": "a"}]', encoding="utf-8", newline="\n")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    async with agent(Settings.from_environment(environment)) as a:
        reply = await a.fails("upload", path=str(tmp_path / "rows.json"))
    assert "rows.json is a JSON array and not a request file." in reply.text
    assert "create_batch_file" in reply.text


def test_the_skill_stops_at_a_table_and_names_the_script_that_makes_a_request_file(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("id,text\n1,good\n", encoding="utf-8", newline="\n")
    stop = script_module("cli").ScriptError
    with pytest.raises(stop) as told:
        script_module("tables").refuse_table(path)
    assert "is a table and not a request file" in str(told.value)
    assert "create_batch_file.py" in str(told.value)


def test_the_check_of_a_table_says_what_it_is_in_place_of_what_its_lines_lack(work, run):
    (work / "reviews.csv").write_text("id,text\n1,good\n", encoding="utf-8", newline="\n")
    (work / "sound.jsonl").write_text(REQUEST, encoding="utf-8", newline="\n")
    done = run("validate_batch_file.py", "sound.jsonl", "reviews.csv")
    assert (done.code, done.out) == (3, "")
    assert "is a table and not a request file" in done.err
    assert "create_batch_file.py" in done.err
