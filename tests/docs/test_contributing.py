"""CONTRIBUTING and the justfile: what they name is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.documents import ROOT
from skill import markdown

GUIDE = ROOT / "CONTRIBUTING.md"
RECIPES = (ROOT / "justfile").read_text(encoding="utf-8")
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_every_recipe_that_it_names_exists():
    named = set(re.findall(r"`just ([a-z-]+)", GUIDE.read_text(encoding="utf-8")))
    there = set(re.findall(r"^@?([a-z-]+)(?: \*options)?:$", RECIPES, re.MULTILINE))
    assert named
    assert named <= there


def test_what_just_quick_runs_and_leaves_out_is_there():
    runs, leaves_out = (
        re.search(rf'^{name} := "(.+)"$', RECIPES, re.MULTILINE).group(1).split()
        for name in ("quick", "not_quick")
    )
    for path in (*runs, *leaves_out):
        assert (ROOT / path).exists(), path
    for path in leaves_out:
        assert any(Path(path).is_relative_to(folder) for folder in runs), path


def test_just_can_read_the_justfile():
    just = shutil.which("just") or shutil.which("just", path=Path(sys.executable).parent)
    if just is None:
        pytest.skip("just is not installed")
    done = subprocess.run([just, "--list"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_commit_needs_no_network():
    assert re.findall(r"repo: (\S+)", HOOKS) == ["local"]
    assert set(re.findall(r"language: (\S+)", HOOKS)) == {"system"}


def test_the_programs_that_it_starts_are_there():
    started = [
        word
        for line in markdown.lines(GUIDE, "sh")
        for word in line.split()
        if word.startswith(("tests/", ".ci/"))
    ]
    assert started
    for program in started:
        assert Path(ROOT / program).is_file(), program
