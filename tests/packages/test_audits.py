"""The audits of CI find what is planted, and say so where they could not look."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
# In parts, so that the scan of this repository does not find them here.
KEYS = (
    "sk-" + "a1B2" * 8,
    "gh" + "p_" + "a1B2" * 9,
    "AK" + "IA" + "A1B2" * 4,
    "-----BEGIN RSA PRIVATE " + "KEY-----",
    "https://owner:" + "s3cret@example.com",
    "api_key" + ' = "' + "a1B2" * 8 + '"',
)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / ".ci").mkdir()
    for name in ("secrets.py", "secrets-allowed.txt"):
        shutil.copy(CI / name, tmp_path / ".ci" / name)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, ".ci")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *WHO, *words], cwd=folder, check=True, capture_output=True)


def commit(folder, *names):
    git(folder, "add", "--all", *names)
    git(folder, "commit", "--quiet", "--message", "x")


def scan(folder):
    return subprocess.run(
        [sys.executable, ".ci/secrets.py"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_key_in_a_file_is_found_and_not_shown_whole(repository):
    for number, key in enumerate(KEYS):
        (repository / f"{number}.txt").write_text(f"x\n{key}\n", encoding="utf-8")

    done = scan(repository)

    assert done.returncode == 1
    for number, key in enumerate(KEYS):
        assert f"{number}.txt: " in done.stderr
        assert key not in done.stderr


def test_a_key_that_was_taken_out_again_is_found_in_the_history(repository):
    (repository / "a.txt").write_text(KEYS[0], encoding="utf-8")
    commit(repository, "a.txt")
    (repository / "a.txt").write_text("none\n", encoding="utf-8")
    commit(repository, "a.txt")

    done = scan(repository)

    assert done.returncode == 1
    assert re.search(r"^commit \w+: a.txt: ", done.stderr, re.MULTILINE)


def test_what_has_its_reason_is_let_pass(repository):
    (repository / "a.txt").write_text(KEYS[0], encoding="utf-8")
    with (repository / ".ci" / "secrets-allowed.txt").open("a", encoding="utf-8") as allowed:
        allowed.write("sk-a1B2  # of a test\n")

    assert scan(repository).returncode == 0


@pytest.mark.parametrize(
    ("exit_code", "output", "required", "passes", "shown"),
    [
        (0, "", "", True, "no known vulnerability"),
        (2, "error: error sending request for url\n  cause: dns error", "", True, "SKIPPED"),
        (2, "error: error sending request for url", "required", False, "SKIPPED"),
        (1, "jinja2 1.0 has 1 known vulnerability", "", False, "jinja2"),
        (2, "error: the lock is broken", "", False, "broken"),
    ],
)
def test_an_audit_that_could_not_look_says_so(tmp_path, exit_code, output, required, passes, shown):
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\ncat <<'E' >&2\n{output}\nE\nexit {exit_code}\n", encoding="utf-8")
    uv.chmod(0o755)

    done = subprocess.run(
        ["bash", str(CI / "audit"), str(uv)],
        env=os.environ | {"AUDIT": required},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is passes
    assert shown in done.stdout + done.stderr
