"""Steps of the workflows, run by bash as a runner does: it ends at the first one that fails."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
TAG = "v0.1.0"
SECONDS = 60

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not shutil.which("ssh-keygen"),
    reason="steps of bash, and signatures of ssh-keygen",
)


def step(workflow, line):
    """The script of the one step that has this line."""
    text = (WORKFLOWS / workflow).read_text(encoding="utf-8")
    scripts = re.findall(r"^( +)run: \|\n((?:\1  .*\n|\n)+)", text + "\n", re.MULTILINE)
    (found,) = [script for _, script in scripts if line in script]
    return textwrap.dedent(found)


def as_a_runner(script, folder, **variables):
    """Run a step's script with the options that a runner gives to bash."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def program(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.parametrize("of_venv", ["bin/python", "Scripts/python.exe"])
def test_the_systems_step_reaches_the_tests_where_each_system_puts_python(tmp_path, of_venv):
    """`python3 -m venv` makes `bin` on macOS and `Scripts` on Windows, and never both."""
    calls = tmp_path / "calls"
    program(tmp_path / "made", f'echo "$@" >> {calls}')
    program(
        tmp_path / "path" / "python3",
        f"mkdir -p .uv/{Path(of_venv).parent} && cp {tmp_path / 'made'} .uv/{of_venv}",
    )
    path = f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}"

    ended = as_a_runner(step("ci.yml", "-n auto"), tmp_path, PATH=path)

    assert (ended.returncode, ended.stderr) == (0, "")
    install, run = calls.read_text(encoding="utf-8").splitlines()
    assert install == "-m pip install --quiet uv"
    assert run.startswith("-m uv run --locked ")
    named = re.findall(r"(?<=[ =])tests/[\w/.]+", run)
    assert len(named) > 1
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.fixture
def git(tmp_path):
    """Git as nobody has set it up: with a signing key of this test and no settings of a machine."""
    key = tmp_path / "key"
    making = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(making, check=True, timeout=SECONDS)
    config = {
        "user.name": "t",
        "user.email": "t@example.com",
        "gpg.format": "ssh",
        "user.signingKey": str(key),
        "init.defaultBranch": "main",
    }
    words = [word for name, value in config.items() for word in ("-c", f"{name}={value}")]

    def run(folder, *arguments):
        subprocess.run(
            ["git", *words, *arguments],
            cwd=folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )

    return run


@pytest.fixture
def origin(tmp_path, git):
    """A repository of version 0.1.0 whose maintainers have the key of `git`."""
    folder = tmp_path / "origin"
    (folder / ".github").mkdir(parents=True)
    public = (tmp_path / "key.pub").read_text(encoding="utf-8")
    (folder / ".github" / "allowed_signers").write_text(f"t@example.com {public}", encoding="utf-8")
    (folder / "pyproject.toml").write_text('version = "0.1.0"\n', encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def checked_out(git, origin):
    """What actions/checkout leaves: every branch and tag, but the tag that began it is a commit."""
    folder = origin.with_name("checkout")
    git(origin.parent, "clone", "--quiet", str(origin), str(folder))
    git(folder, "checkout", "--quiet", TAG)
    git(folder, "tag", "--force", TAG, f"{TAG}^{{commit}}")
    return folder


def verified(folder):
    return as_a_runner(
        step("release.yml", "verify-tag"),
        folder,
        GITHUB_REF_NAME=TAG,
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_CONFIG_NOSYSTEM="1",
    )


def test_a_signed_tag_is_verified_although_the_checkout_puts_a_commit_in_its_place(git, origin):
    git(origin, "tag", "--sign", TAG, "--message", TAG)

    ended = verified(checked_out(git, origin))

    assert 'Good "git" signature for t@example.com' in ended.stderr
    assert (ended.returncode, ended.stdout) == (0, 'version = "0.1.0"\n')


@pytest.mark.parametrize("kind", ["annotated", "lightweight", "moved", "aside", "other version"])
def test_no_other_tag_becomes_a_release(git, origin, kind):
    """Not signed, signed for another commit since, of a commit beside main, of another version."""
    if kind == "aside":
        git(origin, "checkout", "--quiet", "-b", "aside")
        git(origin, "commit", "--quiet", "--allow-empty", "--message", "aside")
    if kind == "other version":
        (origin / "pyproject.toml").write_text('version = "0.2.0"\n', encoding="utf-8")
        git(origin, "commit", "--quiet", "--all", "--message", "next")
    signs = {"annotated": ["--annotate"], "lightweight": []}.get(kind, ["--sign"])
    git(origin, "tag", *signs, TAG, *(["--message", TAG] if signs else []))
    git(origin, "checkout", "--quiet", "main")
    folder = checked_out(git, origin)
    if kind == "moved":
        git(origin, "commit", "--quiet", "--allow-empty", "--message", "later")
        git(origin, "tag", "--force", "--sign", TAG, "--message", TAG)

    assert verified(folder).returncode != 0


def test_a_clone_of_git_for_windows_has_the_same_line_ends(git, tmp_path):
    """A runner of Windows has `core.autocrlf` on; bash reads no script with its line ends."""
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(ROOT / ".gitattributes", folder)
    shutil.copy(ROOT / ".ci" / "run", folder)
    git(folder, "init", "--quiet")
    git(folder, "config", "core.autocrlf", "true")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    (folder / "run").unlink()
    git(folder, "checkout", "--", "run")

    assert (folder / "run").read_bytes() == (ROOT / ".ci" / "run").read_bytes()
