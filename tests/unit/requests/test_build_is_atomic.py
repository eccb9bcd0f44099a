"""Request files appear whole or not at all, whatever ends the build."""

import subprocess
import sys

import pytest

from doubleword_batch.errors import DoublewordBatchError, InputError, StoreError


@pytest.mark.parametrize("limits", [{}, {"max_requests": 2}])
def test_a_broken_row_stops_the_build_and_leaves_what_was_there(source, build, tmp_path, limits):
    whole = source("t.jsonl", '{"text":"a"}')
    build(whole)
    before = (tmp_path / "job" / "part-0001.jsonl").read_bytes()
    with pytest.raises(InputError, match="Line 1004"):
        build(source("t.jsonl", '{"text":"b"}\n' * 1003 + "broken\n"), limits=limits)
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["part-0001.jsonl"]
    assert (tmp_path / "job" / "part-0001.jsonl").read_bytes() == before


def test_a_cancelled_build_leaves_nothing(table, build, tmp_path):
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) == 4

    with pytest.raises(DoublewordBatchError, match="after 300 rows") as refused:
        build(table(1000), limits={"max_requests": 50}, cancelled=cancelled)
    assert refused.value.code == "interrupted"
    assert list((tmp_path / "job").iterdir()) == []


def test_an_error_of_the_caller_leaves_nothing(table, build, tmp_path):
    def fail(_):
        raise RuntimeError("the store is gone")

    with pytest.raises(RuntimeError):
        build(table(1000), on_rows=fail)
    assert list((tmp_path / "job").iterdir()) == []


def test_what_a_killed_build_left_is_replaced(table, build, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / ".part-0001.jsonl.0123.part").write_text("half a li", encoding="utf-8")
    assert build(table()).requests == 3
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["part-0001.jsonl"]


def test_a_folder_that_cannot_be_written_is_a_store_error(table, build, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "part-0001.jsonl").mkdir()  # a name that cannot be given
    with pytest.raises(StoreError) as refused:
        build(table())
    assert refused.value.code == "not_written"
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["part-0001.jsonl"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from doubleword_batch.errors import StoreError
from doubleword_batch.providers import profile
from doubleword_batch.requests import RequestSpec, build_request_files
from doubleword_batch.sources import open_source
from doubleword_batch.paths import Roots

folder = Path(sys.argv[1])
source = open_source("t.jsonl", Roots([folder]))
spec = RequestSpec(endpoint="/v1/chat/completions", model="m", prompt="{{ text }}")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    build_request_files(source, spec, profile("doubleword"), folder / "job")
except StoreError as error:
    print(error.code, error.retryable)
"""


@pytest.mark.posix("limits on a file's size")
def test_a_full_disk_is_reported_and_leaves_nothing(table, tmp_path):
    table(3000)
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["disk_full", "True"]
    assert list((tmp_path / "job").iterdir()) == []


def test_a_column_that_vanishes_half_way_stops_the_build(source, build, tmp_path):
    table = source("t.jsonl", '{"text":"a"}\n' * 1500 + '{"txt":"b"}\n')
    with pytest.raises(InputError, match=r"Row 1501: .*text") as refused:
        build(table)
    assert (refused.value.code, refused.value.details["row"]) == ("missing_value", 1501)
    assert list((tmp_path / "job").iterdir()) == []
