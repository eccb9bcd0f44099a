"""A disk that is full while a job is built is a readable error; nothing is left of the build."""

import json
import os
import subprocess
import sys

import pytest

from doubleword_batch import StoreError
from doubleword_batch.providers import profile
from doubleword_batch.requests import line_checks, validate_request_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")

BUILD = """
import asyncio, json, resource, sys
from doubleword_batch import DoublewordBatchError, Jobs, Settings

async def main(home, source, options):
    environment = {"DOUBLEWORD_BATCH_HOME": home, "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate"}
    async with Jobs(Settings.from_environment(environment)) as jobs:
        await jobs.list()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        try:
            await jobs.create(source, prompt="{{ text }}", model="m", options=json.loads(options))
        except DoublewordBatchError as error:
            print(error.code, error.message)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("options", [{"group_by": "group"}, {"chunk_chars": 1_000}])
def test_a_disk_that_is_full_while_rows_are_made_is_named(tmp_path, options):
    if "group_by" in options:
        source = tmp_path / "rows.csv"
        lines = [f"{number % 50},{'x' * 200}" for number in range(4_000)]
        source.write_text("\n".join(["group,text", *lines]), encoding="utf-8")
    else:
        source = tmp_path / "texts"
        source.mkdir()
        for number in range(100):
            (source / f"{number}.txt").write_text("word " * 2_000, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path / "home", source, json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout.startswith("disk_full "), ended.stderr
    assert list((tmp_path / "home" / "jobs").iterdir()) == []


def test_no_place_for_the_ids_of_a_long_file_is_named(tmp_path, monkeypatch):
    line = '{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\n'
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(line % number for number in range(300)), encoding="utf-8")
    monkeypatch.setattr(line_checks, "MOST_IN_MEMORY", 100)
    monkeypatch.setattr(line_checks.tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="nowhere could not be written") as failed:
        validate_request_file(path, profile("doubleword"), [])
    assert failed.value.code == "not_written"
