"""A short run over every target, from the same number each time: what it finds, a change brought.

A finding names its number; `just fuzz --again NUMBER TARGET` feeds it anew. Its input belongs into
a test beside the code that is cured. The long run: `just fuzz --seconds 3600`.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("limits of memory are those of POSIX", allow_module_level=True)

from fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]
ONE_TARGET_SECONDS = 1.0
FIRST_NUMBER = 1_000_000  # the same inputs each time: `just fuzz` looks for others
END_SECONDS = 240  # of a busy machine; a child that is still there then hangs
TOGETHER = (
    ("csv", "jsonl", "json", "gzip", "zstd", "xlsx", "parquet", "sqlite"),
    ("result_lines", "loose_json", "error_bodies", "templates", "request_files", "spending"),
    ("replies", "sql", "schemas", "stdin"),
    ("old_workbooks", "lock_files", "webhooks"),
)


def run(*words, folder):
    return subprocess.run(
        [sys.executable, "-m", "fuzz.child", "--folder", folder, *map(str, words)],
        cwd=TESTS,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=END_SECONDS,
        check=False,
    )


def test_every_target_is_run():
    assert sorted(name for names in TOGETHER for name in names) == sorted(TARGETS)


@pytest.mark.parametrize("names", TOGETHER, ids="-".join)
def test_no_input_gets_more_than_an_error_in_words(names, tmp_path):
    seconds = ONE_TARGET_SECONDS * len(names)

    done = run("--seconds", seconds, "--seed", FIRST_NUMBER, *names, folder=tmp_path)

    reached = {path.stem: path.read_text() for path in tmp_path.glob("*.now")}
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nfed last: {reached}"
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(names)


def test_a_number_makes_its_input_again(tmp_path):
    with TARGETS["result_lines"](tmp_path) as (make, _):
        assert make(random.Random(7)) == make(random.Random(7)) != make(random.Random(8))
