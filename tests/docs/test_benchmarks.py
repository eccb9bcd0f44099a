"""The benchmarks are commands: they say what they need."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from docs.documents import DOCS, ROOT

BENCHMARKS = sorted(
    set(re.findall(r"`python (tests/bench/\S+\.py)", (DOCS / "benchmarks.md").read_text("utf-8")))
)


def run(benchmark, *options, **environment):
    return subprocess.run(
        [sys.executable, ROOT / benchmark, *options],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("benchmark", ["tests/bench/run.py", "tests/bench/batch_openai_calls.py"])
def test_without_uv_it_says_what_is_needed_for_the_peers(benchmark, tmp_path):
    done = run(benchmark, PATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "uv is not on PATH" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_each_says_its_options(benchmark):
    done = run(benchmark, "--help")
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


def test_every_stage_of_ours_runs(tmp_path):
    spec = importlib.util.spec_from_file_location("data", ROOT / "tests/bench/data.py")
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    data.write_table(tmp_path / "table.csv", 20, 200)

    def stage(*names):
        done = run("tests/bench/ours.py", names[0], tmp_path, *names[1:])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert stage("build")["requests"] == 20
    data.write_results(tmp_path / "results.jsonl", tmp_path / "requests.jsonl", 200)
    assert stage("validate")["seconds"] > 0
    assert stage("collect")["rows"] == 20
    for form in ("jsonl", "csv", "parquet"):
        assert stage("export", form)["seconds"] > 0
    assert stage("query")["again"] > 0
    assert stage("stall")["longest"] >= 0


def test_the_page_names_the_benchmarks():
    assert "tests/bench/run.py" in BENCHMARKS
