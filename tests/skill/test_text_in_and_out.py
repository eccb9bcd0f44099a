"""The scripts speak UTF-8 whatever the system's own encoding is, and read what editors save."""

import codecs
import json
import os
import subprocess
import sys

import pytest

from tables import rows_of

_ASCII_SYSTEM = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
_PROMPT = "Übersetze 日本: {{ text }}"


@pytest.fixture
def table(work):
    path = work / "tabelle 日本.csv"
    path.write_text("text\nGrüße\n", encoding="utf-8")
    return path


def test_what_is_not_a_terminal_gets_utf_8(run, table):
    made = run(
        "create_batch_file.py",
        *(table.name, "--prompt", "Say {{ text }}", "--model", "m", "--output", "anfragen.jsonl"),
        **_ASCII_SYSTEM,
    )

    assert made.code == 0, made.err
    assert "Grüße" in made.out


@pytest.mark.skipif(sys.platform != "linux", reason="a disk that takes UTF-8 names only")
def test_a_name_that_is_not_utf_8_ends_no_script(run, table):
    name = os.fsdecode("Größe.jsonl".encode("latin-1"))
    words = (table.name, "--prompt", "Say {{ text }}", "--model", "m", "--output", name)
    made = run("create_batch_file.py", *words)
    assert (made.code, made.err) == (0, "")
    assert "wrote Gr\\udcf6\\udcdfe.jsonl" in made.out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_prompts_and_schemas_are_read_as_their_byte_order_mark_says(
    run, work, table, encoding, newline
):
    schema = {"type": "object", "properties": {"größe": {"type": "string"}}}
    (work / "prompt.txt").write_bytes(f"{_PROMPT}{newline}".encode(encoding))
    (work / "schema.json").write_bytes(json.dumps(schema, ensure_ascii=False).encode(encoding))
    made = run(
        "create_batch_file.py",
        *(table.name, "--prompt", "@prompt.txt", "--schema", "schema.json"),
        *("--model", "m", "--output", "r.jsonl"),
    )

    assert made.code == 0, made.err
    [line] = rows_of(work / "r.jsonl")
    assert line["body"]["messages"][-1]["content"] == "Übersetze 日本: Grüße"
    assert "größe" in json.dumps(line["body"]["response_format"], ensure_ascii=False)


def test_a_prompt_in_another_encoding_is_refused(run, work, table):
    (work / "prompt.txt").write_bytes(_PROMPT.encode("shift-jis", "ignore"))
    made = run(
        "create_batch_file.py",
        *(table.name, "--prompt", "@prompt.txt", "--model", "m", "--output", "r.jsonl"),
    )

    assert made.code == 3
    assert "«prompt.txt» cannot be read" in made.err


def test_a_table_that_begins_with_a_byte_order_mark_has_its_first_column(run, work):
    (work / "t.csv").write_bytes(codecs.BOM_UTF8 + "text\nGrüße\n".encode())
    made = run(
        "create_batch_file.py",
        *("t.csv", "--prompt", "{{ text }}", "--model", "m", "--output", "r.jsonl"),
    )

    assert made.code == 0, made.err


def test_a_reader_that_has_gone_changes_neither_the_work_nor_its_exit_code(
    work, environment, command, table
):
    words = ("--prompt", "{{ text }}", "--model", "m", "--output", "r.jsonl")
    with subprocess.Popen(
        command("create_batch_file.py", table.name, *words),
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as script:
        script.stdout.close()
        printed = script.stderr.read()
        code = script.wait(60)

    assert (code, printed) == (0, b"")
    assert (work / "r.jsonl").is_file()


@pytest.mark.posix("a pipe among the files of a repository")
@pytest.mark.parametrize("words", [("--prompt", "@p"), ("--system", "@p"), ("--schema", "p")])
def test_a_pipe_in_the_place_of_a_text_is_not_waited_for(run, work, table, words):
    os.mkfifo(work / "p")
    given = {"--prompt": "{{ text }}", "--model": "m", "--output": "o.jsonl"} | dict([words])
    made = run("create_batch_file.py", table.name, *(w for pair in given.items() for w in pair))
    assert made.code == 3
    assert "it is not a file" in made.err


def test_characters_that_nobody_sees_are_marks_in_what_is_shown_of_a_row(run, work):
    (work / "t.csv").write_text("text\na\u202eb\x9b2J\U000e0041c\n", encoding="utf-8")
    words = ("--prompt", "{{ text }}", "--model", "m", "--output", "o.jsonl")
    made = run("create_batch_file.py", "t.csv", *words)
    assert made.code == 0
    assert "a\ufffdb\ufffd2J\ufffdc" in made.out
    (line,) = rows_of(work / "o.jsonl")
    assert line["body"]["messages"][0]["content"] == "a\u202eb\x9b2J\U000e0041c"
