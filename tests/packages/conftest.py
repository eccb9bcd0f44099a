"""A copy of the tree with what lies about in a developer's, and the commands that build it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Nobody's package: keys, settings of programs, dumps, notes, what other systems leave behind.
STRAY = (
    ".DS_Store",
    ".env",
    ".env.local",
    ".env.production",
    ".envrc",
    ".git-credentials",
    ".mcp.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".secrets.py",
    ".notes.md",
    "answers.jsonl",
    "auth.json",
    "credentials",
    "credentials.json",
    "dump.csv",
    "id_ed25519",
    "id_rsa",
    "key.p12",
    "key.pem",
    "notes.txt",
    "pip.conf",
    "rows.parquet",
    "secrets.toml",
    "service-account.json",
    "settings.yaml",
    "store.sqlite3",
)
STRAY_FOLDERS = (".git", ".ssh", ".venv", "stray")
_SECRET = "do-not-" + "pack"  # in two parts, so that this file is not what is looked for


def tracked():
    """The names of the files that git has here, or a skip."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="session")
def names():
    return tracked()


@pytest.fixture(scope="session")
def secret():
    return _SECRET


@pytest.fixture(scope="session")
def copy(names):
    """Copy the tracked files into a folder."""

    def to(tree):
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)

    return to


@pytest.fixture(scope="session")
def litter(secret):
    """Drop into every folder of a tree what nobody wants to hand out."""

    def into(tree):
        kept = [path for path in tree.rglob("*") if path.is_dir() and ".git" not in path.parts]
        upper = [tree, *(path for path in kept if len(path.relative_to(tree).parts) < 3)]
        for folder in [tree, *kept, *(each / name for each in upper for name in STRAY_FOLDERS)]:
            folder.mkdir(exist_ok=True)
            for name in (*STRAY, "code.py") if folder.name.startswith(".") else STRAY:
                (folder / name).write_text(f"{secret}\n", encoding="utf-8")

    return into


@pytest.fixture(scope="session")
def littered(tmp_path_factory, copy, litter):
    tree = tmp_path_factory.mktemp("littered")
    copy(tree)
    litter(tree)
    return tree


@pytest.fixture(scope="session")
def run():
    """Run a Python program to its end, or fail with what it said."""
    pytest.importorskip("hatchling")

    def to_the_end(*words, cwd, **variables):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return to_the_end
