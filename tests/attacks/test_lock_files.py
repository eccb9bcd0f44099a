"""A lock file in somebody's repository: what it tells is repeated, and nothing else is reached."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from doubleword_batch import Settings, run
from doubleword_batch.cli.run_flow import RunOptions, run_flow
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.build_request import BuildRequest

SECRET = "a private key"


ROWS = "text\na\nb\n"


def settings_of(home):
    variables = {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    return Settings.from_environment(variables)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The lock file of a table."""
    folder = tmp_path_factory.mktemp("honest")
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    settings = settings_of(folder / "home")
    answers = folder / "answers.csv"
    run(folder / "rows.csv", prompt="Say {{ text }}", output_path=answers, settings=settings)
    return (folder / "answers.lock.json").read_bytes()


@pytest.fixture
def repository(tmp_path, monkeypatch, honest):
    """A folder with rows and the lock file of their answers; outside of it lie secrets."""
    folder, outside = tmp_path / "repository", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    monkeypatch.chdir(folder)
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    (outside / "id_rsa").write_text(SECRET, encoding="utf-8")
    (outside / "rows.csv").write_text(f"text\n{SECRET}\n", encoding="utf-8")
    lock = folder / "answers.lock.json"
    lock.write_bytes(honest)
    home = tmp_path / "home"
    return SimpleNamespace(
        folder=folder, outside=outside, home=home, settings=settings_of(home), lock=lock
    )


def change(repository, part, **members):
    """Give a part of the lock file other members."""
    lock = json.loads(repository.lock.read_text(encoding="utf-8"))
    lock[part] |= members
    repository.lock.write_text(json.dumps(lock), encoding="utf-8")


def repeated(repository):
    """What a person does with it who trusts it; the error, or None."""
    options = RunOptions(output="", locked="answers.lock.json", agreed=True)
    try:
        run_flow(Terminal(as_json=True), repository.settings, BuildRequest(source=None), options)
    except DoublewordBatchError as error:
        return error
    return None


def knows_the_secret(repository):
    places = (*repository.home.rglob("*"), *repository.folder.glob("*.csv"))
    return any(
        SECRET.encode() in path.read_bytes()
        for path in places
        if path.is_file() and not path.is_symlink()
    )


def is_untouched(repository):
    return {path.name for path in repository.outside.iterdir()} == {"id_rsa", "rows.csv"}


@pytest.mark.parametrize(
    "location",
    [
        *("../outside/rows.csv", "OUTSIDE/rows.csv", "linked.csv", "notes", "notes/*.txt"),
        *("sqlite:../outside/rows.csv", ".hidden/rows.csv", "/proc/self/environ", "~/rows.csv"),
    ],
)
def test_its_rows_lie_beside_it_or_in_the_working_folder(repository, location):
    (repository.folder / "notes").mkdir()
    (repository.folder / "notes" / "a.txt").symlink_to(repository.outside / "id_rsa")
    (repository.folder / "linked.csv").symlink_to(repository.outside / "rows.csv")
    (repository.folder / ".hidden").mkdir()
    (repository.folder / ".hidden" / "rows.csv").write_text(f"text\n{SECRET}\n", encoding="utf-8")
    change(repository, "source", location=location.replace("OUTSIDE", str(repository.outside)))
    refused = repeated(repository)
    assert refused is not None
    assert refused.code in {"outside_roots", "file_not_found"}
    assert not knows_the_secret(repository)


@pytest.mark.parametrize("name", ["../outside/new.csv", "linked.csv", ".env.csv", "conftest.py"])
def test_its_table_lies_beside_it(repository, name):
    (repository.folder / "linked.csv").symlink_to(repository.outside / "new.csv")
    change(repository, "table", file=name)
    refused = repeated(repository)
    assert refused is not None
    assert is_untouched(repository)
    assert not (repository.folder / name).exists()


@pytest.mark.parametrize("name", ["x.lock.json", "y.lock.json"])
def test_no_lock_file_is_written_through_a_link(repository, name):
    (repository.folder / "x.lock.json").symlink_to(repository.outside / name)
    change(repository, "table", file="x.csv")
    assert repeated(repository) is None
    assert (repository.folder / "x.csv").exists()
    assert is_untouched(repository)


@pytest.mark.parametrize(
    "members",
    [
        {"prompt": "@OUTSIDE/id_rsa {{ text }}"},
        {"prompt": "@OUTSIDE/id_rsa", "limit": 1},
        {"prompt": "@../outside/id_rsa", "limit": 1},
        {"system": "@OUTSIDE/id_rsa"},
        {"prompt": "{% include 'OUTSIDE/id_rsa' %}{{ text }}"},
        {"response_schema": {"$ref": "file://OUTSIDE/id_rsa"}},
        {"image_column": "text"},
        {"options": {"schema": "OUTSIDE/id_rsa"}},
        {"params": {"messages": [{"role": "user", "content": "OUTSIDE"}]}},
    ],
)
def test_what_it_asks_names_no_file_and_no_other_place(repository, members):
    text = f"text\n{Path('..', 'outside', 'id_rsa')}\n"
    (repository.folder / "rows.csv").write_text(text, encoding="utf-8", newline="\n")
    members = json.loads(json.dumps(members).replace("OUTSIDE", repository.outside.as_posix()))
    change(repository, "request", **members)
    repeated(repository)
    assert not knows_the_secret(repository)
    assert is_untouched(repository)


@pytest.mark.parametrize(
    ("part", "members"),
    [
        ("provider", {"name": "\x1b]0;x\x07", "base_url": "http://x\n\nerror: all is well"}),
        ("provider", {"price": {"date": "\x1b[2J", "input_usd": "NaN", "output_usd": "1E+99999"}}),
        ("request", {"run": "\x1b[2J" * 99, "completion_window": "24h\r\nX: y"}),
        ("request", {"left_out": ["params.\x1b[2J.x"] * 5}),
    ],
)
def test_what_it_says_of_itself_is_shown_as_text(repository, capfd, part, members):
    change(repository, part, **members)
    refused = repeated(repository)
    shown = "".join((*capfd.readouterr(), str(refused), getattr(refused, "hint", "")))
    assert not {"\x1b", "\u202e", "\r", "\x07"} & set(shown)
    assert "\nerror: all" not in shown
