"""The command speaks UTF-8 whatever the system's own encoding is, and reads what editors save."""

import io
import json
import os

import pytest

import processes
from cli.commands import ROWS
from doubleword_batch.cli.streams import piped
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
        timeout=60,
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
        timeout=60,
        check=False,
    )

    assert json.loads(made.stdout)["error"]["code"] == "not_readable"
    assert "piped in is not UTF-8" in json.loads(made.stdout)["error"]["message"]


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
