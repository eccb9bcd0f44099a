"""The command speaks UTF-8 whatever the system's own encoding is, and reads what editors save."""

import io
import json
import os
import sys

import pytest

import processes
from cli.commands import ROWS, Shell
from doubleword_batch.cli import piped
from processes import COMMAND

ASCII_SYSTEM = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
PROMPT = "Übersetze 日本: {{ text }}"


def made_prompt(shell, *words, **environment):
    """The first user message of a file that was made with these words."""
    shell.write("rows.csv", ROWS)
    arguments = ("create-file", "rows.csv", "--model", "m", "-o", "requests.jsonl", *words)
    shell.json(*arguments, **environment)
    first = (shell.folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()[0]
    return json.loads(first)["body"]["messages"][-1]["content"]


def test_files_and_pipes_get_utf_8(shell):
    shell.write("zeilen.csv", "text\nGrüße aus 日本\n")
    made = shell.run(
        *("create-file", "zeilen.csv", "--model", "m", "--prompt", "{{ text }}"), **ASCII_SYSTEM
    )

    assert made.returncode == 0, made.stderr
    assert "Grüße aus 日本" in made.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_prompt_from_a_pipe_arrives_as_it_was_written(shell, encoding):
    shell.write("rows.csv", ROWS)
    made = processes.run(
        [
            *(*COMMAND, "create-file", "rows.csv"),
            *("--model", "m", "--prompt", "-", "-o", "requests.jsonl"),
        ],
        cwd=shell.folder,
        env=shell.environment | ASCII_SYSTEM,
        input=f"{PROMPT}\r\n".encode(encoding),
        capture_output=True,
        timeout=300,
        check=False,
    )

    assert made.returncode == 0, made.stderr
    first = (shell.folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first)["body"]["messages"][-1]["content"] == "Übersetze 日本: good"


def test_a_pipe_in_another_encoding_is_refused_before_anything_is_made(shell):
    shell.write("rows.csv", ROWS)
    made = processes.run(
        [
            *(*COMMAND, "create-file", "rows.csv"),
            *("--model", "m", "--prompt", "-", "--json"),
        ],
        cwd=shell.folder,
        env=shell.environment,
        input="Prüfe {{ text }}".encode("cp1252"),
        capture_output=True,
        timeout=300,
        check=False,
    )

    assert json.loads(made.stdout)["error"]["code"] == "not_readable"
    assert "piped input is not UTF-8" in json.loads(made.stdout)["error"]["message"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_prompts_and_schemas_may_begin_with_a_byte_order_mark(shell, encoding):
    schema = {"type": "object", "properties": {"größe": {"type": "string"}}}
    (shell.folder / "prompt.txt").write_bytes(f"{PROMPT}\r\n".encode(encoding))
    (shell.folder / "schema.json").write_bytes(
        json.dumps(schema, ensure_ascii=False).encode(encoding)
    )

    prompt = made_prompt(shell, "--prompt", "@prompt.txt", "--schema", "schema.json")

    assert prompt == "Übersetze 日本: good"
    assert "größe" in (shell.folder / "requests.jsonl").read_text(encoding="utf-8")


def test_a_byte_order_mark_that_a_shell_passes_on_is_not_part_of_the_prompt(shell):
    assert made_prompt(shell, "--prompt", "\ufeffSay {{ text }}") == "Say good"


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="a file that refuses bytes with EINVAL")
def test_a_closed_pipe_of_windows_is_told_as_everywhere():
    descriptor = os.eventfd(0)  # it takes eight bytes at once, and EINVAL is what others get
    with (
        io.TextIOWrapper(io.FileIO(descriptor, "wb"), encoding="utf-8") as stdout,
        piped(stdout) as stream,
        pytest.raises(BrokenPipeError),
    ):
        stream.buffer.raw.write(b"a line")


LATIN_1 = "Gr\udcf6\udcdfe"  # "Größe" in Latin-1, as an archive of an older system unpacks it
ANY_BYTES = pytest.mark.skipif(sys.platform != "linux", reason="a disk that takes UTF-8 names only")


@ANY_BYTES
@pytest.mark.parametrize(
    "source",
    ["texts", "texts/*.txt", f"texts/{LATIN_1}.txt"],
    ids=["folder", "pattern", "file"],
)
def test_a_file_whose_name_is_not_utf_8_is_to_be_renamed(shell, source):
    (shell.folder / "texts").mkdir()
    for name in ("a", LATIN_1):
        shell.write(f"texts/{name}.txt", "good")
    words = ("create-file", source, "--model", "m", "--prompt", "{{ text }}")

    error = shell.json(*words, code=3)["error"]

    assert error["code"] == "invalid_argument"
    assert "Gr\ufffde.txt» is not UTF-8" in error["message"]
    assert error["hint"].startswith("Rename ")


@ANY_BYTES
def test_a_folder_to_work_in_whose_name_is_not_utf_8_is_to_be_renamed(tmp_path):
    (tmp_path / LATIN_1).mkdir()
    shell = Shell(tmp_path / LATIN_1, DOUBLEWORD_BATCH_HOME=str(tmp_path / "state"))
    shell.write("rows.csv", ROWS)
    error = shell.json("create-file", "rows.csv", "-m", "m", "-p", "{{ text }}", code=3)["error"]
    assert "Gr\ufffde/rows.csv» is not UTF-8" in error["message"]


@ANY_BYTES
@pytest.mark.parametrize(
    "words",
    [("status", LATIN_1), ("create-file", "rows.csv", "-p", LATIN_1)],
    ids=["job", "prompt"],
)
def test_no_word_of_the_command_line_that_is_not_utf_8_is_called_a_bug(shared, words):
    ended = shared.run(*words)
    assert ended.returncode == 3
    assert ended.stderr.startswith("Error: «Gr\ufffde» is not UTF-8.\n")
