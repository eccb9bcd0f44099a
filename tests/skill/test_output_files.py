"""The files that the scripts write: whole, where the person wants them, and of nobody else."""

import os
import subprocess
import sys

import pytest

from skill.places import script_module
from skill.results import batches_at

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")
BUILD = ("--prompt", "{{ text }}", "--model", "m", "--output")
LINE = (
    '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions",'
    '"body":{"model":"m","messages":[{"role":"user","content":"x"}]}}\n'
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def table(work):
    path = work / "t.csv"
    path.write_text("text\na\nb\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("output", ["t.csv", "prompt.txt", "schema.json", "linked.csv"])
def test_a_file_that_is_read_is_never_written_over(run, work, table, output):
    (work / "prompt.txt").write_text("Judge {{ text }}", encoding="utf-8")
    (work / "schema.json").write_text('{"type": "object"}', encoding="utf-8")
    (work / "linked.csv").hardlink_to(table)
    before = {path: path.read_bytes() for path in work.iterdir()}
    done = run(
        "create_batch_file.py", "t.csv", "--prompt", "@prompt.txt", "--model", "m",
        "--schema", "schema.json", "--output", output, "--overwrite",
    )  # fmt: skip
    assert done.code == 3, done.err
    assert "is one of the files that are read" in done.err
    assert {path: path.read_bytes() for path in work.iterdir()} == before


def test_a_later_part_is_not_written_over_what_is_read(run, work):
    (work / "r-0002.csv").write_text("text\na\nb\n", encoding="utf-8")
    done = run(
        "create_batch_file.py", "r-0002.csv", *BUILD, "r.csv", "--overwrite", "--max-requests", "1"
    )
    assert done.code == 3, done.err
    assert names(work) == ["r-0002.csv"]
    assert (work / "r-0002.csv").read_text(encoding="utf-8") == "text\na\nb\n"


def test_a_summary_is_not_written_over_what_it_is_of(run, work):
    for name in ("results.jsonl", "requests.jsonl"):
        (work / name).write_text(LINE % "a", encoding="utf-8")
    for option in ("--table", "--retry"):
        for name in ("results.jsonl", "requests.jsonl"):
            done = run(
                "summarize_results.py", "results.jsonl", "--requests", "requests.jsonl",
                option, name, "--overwrite",
            )  # fmt: skip
            assert done.code == 3, done.err
            assert (work / name).read_text(encoding="utf-8") == LINE % "a"


@posix
def test_a_pipe_and_a_folder_are_not_replaced(run, work, table):
    os.mkfifo(work / "pipe.jsonl")
    (work / "folder.jsonl").mkdir()
    for name in ("pipe.jsonl", "folder.jsonl"):
        done = run("create_batch_file.py", table.name, *BUILD, name, "--overwrite")
        assert done.code == 3, done.err
        assert "is not a regular file" in done.err
    assert (work / "pipe.jsonl").is_fifo()
    assert (work / "folder.jsonl").is_dir()


@pytest.mark.posix("links")
def test_a_link_that_leads_nowhere_counts_as_there(run, work, table):
    (work / "link.jsonl").symlink_to(work / "nowhere")
    done = run("create_batch_file.py", table.name, *BUILD, "link.jsonl")
    assert done.code == 3, done.err
    assert (work / "link.jsonl").is_symlink()


def test_a_place_that_cannot_be_written_is_named_before_the_table_is_read(run, work, table):
    for place in ("nowhere/r.jsonl", "t.csv/r.jsonl", "x" * 300 + ".jsonl"):
        done = run("create_batch_file.py", table.name, *BUILD, place)
        assert done.code == 3, done.err
        assert "cannot be written" in done.err
    assert names(work) == ["t.csv"]


@posix
def test_the_longest_name_of_a_file_system_is_written(run, work, table):
    name = "ü" * 124 + "x.jsonl"
    assert run("create_batch_file.py", table.name, *BUILD, name).code == 0
    assert names(work) == sorted(["t.csv", name])


@posix
def test_a_request_file_whose_results_would_have_too_long_a_name_is_not_sent(run, work):
    name = "x" * 236 + ".jsonl"
    (work / name).write_text(LINE % "a", encoding="utf-8")
    nowhere = {"DOUBLEWORD_API_KEY": "k", "DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1"}
    done = run("run_batch.py", name, "--patience", "0", **nowhere)
    assert done.code == 3, done.err
    assert "cannot be written: File name too long" in done.err
    assert names(work) == [name]


def test_two_request_files_with_one_results_file_are_not_sent(run, work):
    for name in ("r.jsonl", "r.txt"):
        (work / name).write_text(LINE % name, encoding="utf-8")
    nowhere = {"DOUBLEWORD_API_KEY": "k", "DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1"}
    done = run("run_batch.py", "r.jsonl", "r.txt", "--patience", "0", **nowhere)
    assert done.code == 3, done.err
    assert "the same results file" in done.err
    assert names(work) == ["r.jsonl", "r.txt"]


def test_a_persons_file_that_looks_unfinished_stays(run, work, table):
    for name in ("r.jsonl.part", ".r.jsonl.part", ".r.jsonl.0123.part"):
        (work / name).write_text("mine", encoding="utf-8")
        os.utime(work / name, (0, 0))
    before = names(work)
    assert run("create_batch_file.py", table.name, *BUILD, "r.jsonl").code == 0
    assert names(work) == sorted([*before, "r.jsonl"])


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from batchkit.atomic_files import being_written, publish

with being_written(Path("r.jsonl")) as stream:
    stream.write(b"of another process")
    stream.flush()
    print("begun", flush=True)
    sys.stdin.readline()
publish(Path("r.jsonl"))
"""


def test_two_processes_that_write_a_file_at_once_each_write_it_whole(run, work, table, command):
    scripts = command("create_batch_file.py")[1].parent
    with subprocess.Popen(
        [sys.executable, "-B", "-c", WRITE, scripts],
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "begun\n"
        assert run("create_batch_file.py", table.name, *BUILD, "r.jsonl").code == 0
        assert (work / "r.jsonl").read_text(encoding="utf-8").count("\n") == 2
        other.communicate("end\n", timeout=60)
    assert other.returncode == 0
    assert (work / "r.jsonl").read_text(encoding="utf-8") == "of another process"
    assert names(work) == ["r.jsonl", "t.csv"]


def test_what_a_killed_process_left_an_hour_ago_is_removed(run, work, table):
    left = script_module("atomic_files").unfinished(work / "r.jsonl")
    young, probe = (left.name.replace(".part", end) for end in ("0.part", "1.partxx"))
    for name in (left.name, young, probe):
        (work / name).write_text("half", encoding="utf-8")
    for name in (left.name, probe):
        os.utime(work / name, (0, 0))
    assert run("create_batch_file.py", table.name, *BUILD, "r.jsonl").code == 0
    assert names(work) == sorted(["r.jsonl", "t.csv", young])


LIMITED = """
import resource, runpy, sys
limit, *sys.argv = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def run_on_a_full_disk(work, environment, command):
    """Run a script that can write no file of more than so many bytes."""

    def run(limit, script, *arguments, **variables):
        return subprocess.run(
            [sys.executable, "-B", "-c", LIMITED, str(limit), *command(script, *arguments)[1:]],
            cwd=work,
            env=environment | variables,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


@posix
def test_a_full_disk_is_named_with_the_file_and_leaves_nothing(work, table, run_on_a_full_disk):
    done = run_on_a_full_disk(100, "create_batch_file.py", table.name, *BUILD, "r.jsonl")
    assert done.returncode == 7, done.stderr
    assert done.stderr.startswith("error: «r.jsonl» could not be written: File too large")
    assert names(work) == ["t.csv"]


@posix
def test_a_disk_that_is_full_of_results_is_named_and_the_same_command_goes_on(
    work, run, served, requests_of, run_on_a_full_disk
):
    requests_of(50)
    fast = ("requests.jsonl", "--poll", "0.1")
    with served() as server:
        full = run_on_a_full_disk(4_000, "run_batch.py", *fast, **server.variables)
        again = run("run_batch.py", *fast, **server.variables)
        batches = batches_at(server)
    assert full.returncode == 7, full.stderr
    assert "«requests.results.jsonl.reading» could not be written: File too large" in full.stderr
    assert again.code == 0, again.err
    assert len((work / "requests.results.jsonl").read_bytes().splitlines()) == 50
    assert len(batches) == 1
