"""An agent that can only call tools does not get a shell, and reads no settings of programs."""

import pytest

from agent import agent
from doubleword_batch.errors import InputError
from doubleword_batch.jobs import failpoints
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.paths import Roots

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}
INLINE = {"rows": [{"text": "touch PWNED #"}], "prompt": "{{ text }}"}

HIDDEN = (
    ".bashrc",
    ".csv",
    ".env.csv",
    ".git/hooks/post-commit",
    ".git/x.csv",
    ".GIT/x.csv",
    ".ssh/authorized_keys",
    ".mcp.json",
    "sub/.hidden/x.csv",
    "./.bashrc",
    "sub/../.git/x.csv",
    "\u200c.git/x.csv",
    ".g\u200cit/x.csv",
)
NOT_TABLES = ("conftest.py", "Makefile", "a.csv.py", "x.sh", "x.json", "x.csv~", "x", "x.ndjson")
ODD = (
    "x.csv ",
    "x.csv.",
    "x.csv::$DATA",
    "run.py:x.csv",
    "C:x.csv",
    "NUL.csv",
    "con .csv",
    "COM1.csv",
    "aux",
    "x.csv\n",
    "a\tb.csv",
)


@pytest.fixture
def roots(work):
    (work / ".git").mkdir()
    (work / ".ssh").mkdir()
    (work / "sub" / ".hidden").mkdir(parents=True)
    return Roots([work], is_for_agent=True)


@pytest.mark.parametrize("path", [*HIDDEN, *NOT_TABLES, *ODD])
def test_nothing_but_a_plain_table_is_written(roots, path):
    with pytest.raises(InputError) as refused:
        roots.writable(path, overwrite=True)
    assert refused.value.code in {"outside_roots", "invalid_argument"}


@pytest.mark.parametrize("path", ["a.csv", "b.JSONL", "sub/c.parquet", "é .csv", "x..y.csv"])
def test_a_plain_table_may_be_written(roots, work, path):
    assert roots.writable(path) == work / path


def test_a_root_may_itself_lie_in_a_hidden_folder(work):
    (work / ".data").mkdir()
    roots = Roots([work / ".data"], is_for_agent=True)
    assert roots.writable("x.csv") == work / ".data" / "x.csv"


@pytest.mark.parametrize("name", ["x.csv", "sub/x.csv"])
def test_a_link_to_a_file_that_runs_is_not_written_through(roots, work, name):
    for target in (".bashrc", "run.py", ".git/config.csv"):
        (work / name).unlink(missing_ok=True)
        (work / name).symlink_to(work / target)
        with pytest.raises(InputError):
            roots.writable(name, overwrite=True)


@pytest.mark.parametrize(
    "pattern",
    [
        *(".en*", ".ssh/*", "*/.hidden/*", "**/.env", "s*/.h*/*", "sub/.hidden/*.md", ".env"),
        *("\u200c.git/config", "\u2060.git/*"),  # which some disks take for .git
    ],
)
def test_no_pattern_of_an_agent_matches_a_hidden_file(roots, work, pattern):
    for name in (".env", ".ssh/id_rsa", "sub/.hidden/x.md"):
        (work / name).write_text("secret", encoding="utf-8")
    with pytest.raises(InputError, match="Names that begin with a dot"):
        roots.matches(pattern)


@pytest.mark.parametrize("pattern", ["*", "**", "**/*", "[.]env", "?env", "*env", "[!a]*"])
def test_wildcards_pass_hidden_files_by(roots, work, pattern):
    (work / ".env").write_text("secret", encoding="utf-8")
    (work / "seen.env").write_text("x", encoding="utf-8")
    if pattern in {"[.]env", "?env"}:
        with pytest.raises(InputError, match="No file matches"):
            roots.matches(pattern)
    else:
        assert [path.name for path in roots.matches(pattern)] == ["seen.env"]


async def test_an_inline_row_does_not_become_a_start_up_file(settings, work):
    (work / ".bashrc").write_text("# mine\n", encoding="utf-8")
    async with agent(settings) as a:
        results = await a.runs_job(**INLINE)
        for path in (".bashrc", "conftest.py", ".env"):
            await a.fails(
                "fetch_results", job=results["job"], output_path=path, overwrite=True, format="csv"
            )
            await a.fails("create_batch_file", **INLINE, output_path=path)
    assert (work / ".bashrc").read_text(encoding="utf-8") == "# mine\n"
    assert not (work / "conftest.py").exists()


async def test_a_table_of_somebody_else_is_not_overwritten_by_an_agent(settings, reviews, work):
    (work / "precious.csv").write_text("mine", encoding="utf-8")
    async with agent(settings) as a:
        results = await a.runs_job(**ORDER)
        reply = await a.fails(
            "fetch_results", job=results["job"], output_path="precious.csv", overwrite=True
        )
    assert reply["error"]["code"] == "output_exists"
    assert "command line" in reply["error"]["hint"]
    assert (work / "precious.csv").read_text(encoding="utf-8") == "mine"


async def test_a_table_of_the_same_job_is_replaced_without_asking_until_somebody_changes_it(
    settings, reviews, work
):
    async with agent(settings) as a:
        results = await a.runs_job(**ORDER, output_path="out.csv")
        first = (work / "out.csv").read_bytes()
        await a.calls("fetch_results", job=results["job"], output_path="out.csv")
        assert (work / "out.csv").read_bytes() == first
        (work / "out.csv").write_bytes(first + b"a note of mine\n")
        for overwrite in (False, True):
            reply = await a.fails(
                "fetch_results", job=results["job"], output_path="out.csv", overwrite=overwrite
            )
            assert reply["error"]["code"] == "output_exists"
    assert (work / "out.csv").read_bytes() == first + b"a note of mine\n"


@pytest.mark.parametrize("when", ["before the last check", "after it"])
async def test_a_file_that_is_put_there_while_the_table_is_written_stays(
    settings, reviews, work, monkeypatch, when
):
    record = WrittenFiles.record

    def plant(step, name):
        if step == name:
            (work / "late.csv").write_text("mine", encoding="utf-8")

    def record_and_plant(*given):
        record(*given)
        plant(when, "after it")

    async with agent(settings) as a:
        results = await a.runs_job(**ORDER)
        monkeypatch.setattr(WrittenFiles, "record", record_and_plant)
        if when != "after it":
            monkeypatch.setattr(failpoints, "observer", lambda step: plant(step, "export.written"))
        reply = await a.fails("fetch_results", job=results["job"], output_path="late.csv")
    assert reply["error"]["code"] == "output_exists"
    assert (work / "late.csv").read_text(encoding="utf-8") == "mine"
