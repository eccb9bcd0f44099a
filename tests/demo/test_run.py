"""`doubleword-batch demo` on the simulator: what it promises a person and a program."""

import signal
import time
from pathlib import Path

import jsonschema
import pytest

from demo.runs import demo_in
from doubleword_batch.demo import demo_job
from doubleword_batch.demo.folder import _MARKER_TEXT, DATA_FILE
from doubleword_batch.demo.run import run_demo
from doubleword_batch.errors import TransportError
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from tables import rows_of

SECRET = "sk-do-not-leak-7788"


def texts_under(*folders):
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


@pytest.fixture
def held(demo):
    """A local server on the demo's state directory that never answers one of the words."""
    fault = RequestFault(
        match=Match(contains="anaconda"), fault="hold", until=str(demo.home / "never")
    )
    config = LocalConfig(demo.home, faults=Faults(requests=(fault,)))
    with LocalServer(config) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return demo_in(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def first(place):
    """A run for programs, with a key in the environment."""
    return place.run(
        "--json",
        DOUBLEWORD_API_KEY=SECRET,
        DOUBLEWORD_BASE_URL="https://nowhere.invalid/v1",
        DOUBLEWORD_BATCH_LOCAL_KEY=SECRET,
    )


@pytest.fixture(scope="module")
def second(place, first):
    """A run for people in the same place, where somebody has laid traps in the meantime."""
    assert first.code == 0, first.stderr
    outside = place.where / "precious"
    outside.write_text("precious", encoding="utf-8")
    for name in ("answers.csv", "server.log", DATA_FILE):
        (place.folder / name).unlink()
        (place.folder / name).symlink_to(outside)
    (place.folder / "mcp.py").write_text("raise SystemExit('taken')", encoding="utf-8")
    return place.run()


def test_every_source_row_has_one_valid_answer_in_the_sources_order(first):
    assert first.code == 0, first.stderr
    rows = rows_of(first.folder / "answers.csv")
    source = rows_of(first.folder / DATA_FILE)
    assert len(rows) == 48
    assert [row["id"] for row in rows] == [row["id"] for row in source]
    for row, given in zip(rows, source, strict=True):
        assert {name: row[name] for name in given} == given
        jsonschema.validate({"topic": row["topic"]}, demo_job.SCHEMA)


def test_a_program_reads_calls_counts_and_what_answered(first):
    result = first.result
    assert result["each_row_once"] is True
    assert result["outcomes"] == {"ok": 48}
    assert "simulate" in result["provider"]
    assert sum(row[1] for row in result["counted"]["rows"]) == 48
    tools = list(dict.fromkeys(call["tool"] for call in result["calls"]))
    assert tools == ["create_batch_file", "create_batch", "get_status", "fetch_results"]


def test_every_reply_is_small(first):
    sizes = [call["reply_bytes"] for call in first.result["calls"]]
    assert max(sizes) <= 2048
    assert min(sizes) > 0
    assert first.result["reply_bytes"] == sum(sizes)


def test_a_key_in_the_environment_is_neither_used_nor_written(place, first):
    assert first.code == 0, first.stderr
    assert SECRET not in first.stdout + first.stderr
    assert SECRET.encode() not in texts_under(place.folder, place.home)


def test_a_person_reads_calls_answers_agreement_and_where_the_files_are(second):
    assert second.code == 0, second.stderr
    output = " ".join(second.stdout.split())
    assert "each exactly once" in output
    assert "the promise of at most 2,048 is kept" in output
    assert "human's label on" in output
    assert "simulate" in output
    for name in ("answers.csv", DATA_FILE, "server.log"):
        assert str(second.folder / name) in second.stdout
    assert "create_batch_file" in second.stderr
    assert "48 of 48" in second.stderr


def test_figures_of_the_bundled_model_are_not_quoted_for_another_one(second):
    assert "never tuned on" not in " ".join(second.stdout.split())


def test_a_second_run_infers_again_and_replaces_its_own_answers(first, second):
    assert second.code == 0, second.stderr
    assert first.result["job"] not in second.stdout
    assert len(rows_of(second.folder / "answers.csv")) == 48


def test_links_planted_in_the_demos_folder_are_not_written_through(place, second):
    assert second.code == 0, second.stderr
    assert (place.where / "precious").read_text(encoding="utf-8") == "precious"


def test_modules_lying_in_the_demos_folder_are_not_imported(place, second):
    assert (place.folder / "mcp.py").exists()
    assert second.code == 0, second.stderr


def test_a_folder_of_that_name_that_is_not_the_demos_is_left_alone(demo):
    demo.folder.mkdir()
    mine = demo.folder / "answers.csv"
    mine.write_text("mine", encoding="utf-8")
    run = demo.run()
    assert run.code == 3
    assert "was not made by the demo" in " ".join(run.stderr.split())
    assert mine.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in demo.folder.iterdir()] == ["answers.csv"]


@pytest.mark.parametrize("name", ["server.log", "answers.csv"])
def test_a_folder_in_the_place_of_one_of_its_files_is_left_alone_and_named(demo, name):
    demo.folder.mkdir()
    (demo.folder / "made-by-the-demo.txt").write_text(_MARKER_TEXT, encoding="utf-8")
    (demo.folder / name).mkdir()
    run = demo.run()
    assert run.code == 7, run.stderr
    assert "could not be written" in " ".join(run.stderr.split())
    assert (demo.folder / name).is_dir()


def test_without_the_model_and_a_way_to_fetch_it_the_ways_out_are_named(extra_local, demo):
    nowhere = "http://127.0.0.1:9/simple"
    run = demo.run(
        DOUBLEWORD_BATCH_LOCAL_EXECUTOR="", PATH="", PIP_INDEX_URL=nowhere, UV_DEFAULT_INDEX=nowhere
    )
    assert run.code == 4, run.stderr
    output = " ".join(run.stderr.split())
    assert "demo model was not fetched" in output
    assert "doubleword-batch local pull" in output
    assert "DOUBLEWORD_BATCH_LOCAL_URL" in output
    assert "create_batch_file:" not in output


def test_a_tool_error_is_shown_as_the_agent_reads_it_and_ends_the_demo(extra_local, demo):
    run = demo.run(
        DOUBLEWORD_BATCH_LOCAL_EXECUTOR="builtin",
        DOUBLEWORD_BATCH_LOCAL_MODEL=str(demo.where / "absent.gguf"),
    )
    assert run.code == 4, run.stderr
    output = " ".join(run.stderr.split())
    assert "create_batch_file answered with an error" in output
    assert "absent.gguf" in output
    assert "Traceback" not in output


def test_ctrl_c_ends_the_server_and_says_what_stays(demo, held):
    process = demo.start(DOUBLEWORD_BATCH_LOCAL_EXECUTOR="simulate")
    try:
        output = ""
        for line in process.stderr:
            output += line
            if "create_batch:" in line:
                break
        assert servers_in(demo.folder), output
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, output + rest
    assert "doubleword-batch fetch wordnet-nouns" in " ".join(rest.split())
    assert "Traceback" not in rest
    assert not servers_in(demo.folder)


def test_it_gives_up_when_the_time_is_up_and_says_so(demo, held, monkeypatch):
    monkeypatch.chdir(demo.where)
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "simulate")
    for limit in (5, 20, 60):  # a busy machine needs longer until there is a job
        began = time.monotonic()
        with pytest.raises(TransportError, match=f"not done after {limit} seconds") as failure:
            run_demo(home=demo.home, limit_seconds=limit)
        assert time.monotonic() - began < limit + 30
        assert failure.value.code == "transport"
        assert not servers_in(demo.folder)
        if "No job" not in failure.value.hint:
            break
    assert "doubleword-batch fetch wordnet-nouns" in failure.value.hint


def test_the_time_for_the_models_download_counts(extra_local, demo, monkeypatch):
    monkeypatch.chdir(demo.where)
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "builtin")
    with pytest.raises(TransportError, match="not done after 0 seconds") as failure:
        run_demo(home=demo.home, limit_seconds=0)
    assert failure.value.code == "transport"
    assert not list(demo.home.glob("local/models/*"))


def servers_in(folder):
    """Processes whose working directory is the demo's folder: its MCP servers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_the_built_in_model_answers_every_row_with_a_topic(demo, home_with_models):
    (demo.home / "local").mkdir(parents=True)
    demo.home.chmod(0o700)
    (demo.home / "local" / "models").symlink_to(home_with_models / "local" / "models")
    run = demo.run("--json", timeout=600, DOUBLEWORD_BATCH_LOCAL_EXECUTOR="")
    assert run.code == 0, run.stderr
    rows, source = rows_of(run.folder / "answers.csv"), rows_of(run.folder / DATA_FILE)
    assert len(rows) == 48
    assert [row["id"] for row in rows] == [row["id"] for row in source]
    for row in rows:
        jsonschema.validate({"topic": row["topic"]}, demo_job.SCHEMA)
    result = run.result
    assert result["model"] == demo_job.MODEL
    assert "demo model" in result["provider"]
    assert all(call["reply_bytes"] <= 2048 for call in result["calls"])
    # Guessing would agree on 8; a model that was asked something else, on about as many.
    assert result["agreed"] > 24
