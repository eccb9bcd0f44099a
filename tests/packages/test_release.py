"""A release is made of what is committed: all of it, nothing else, and the same bytes twice."""

import hashlib
import json
import re
import subprocess
import tomllib

import pytest

from hosts import programs
from packages.unpacked import files_of_sdist, files_of_wheel

pytestmark = pytest.mark.skipif(programs.uv() is None, reason="there is no uv")


@pytest.fixture(scope="module")
def clone(tmp_path_factory, copy, litter, secret):
    """A clone with everything committed, and then files lying about, also modules of code."""
    tree = tmp_path_factory.mktemp("clone")
    copy(tree)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all", "--force"],
        ["git", *who, "commit", "--quiet", "--message", "everything"],
    ):
        subprocess.run(command, cwd=tree, check=True, capture_output=True)
    litter(tree)
    (tree / "server" / "doubleword_batch" / "scratch.py").write_text(f"# {secret}\n")
    (tree / "tests" / "scratch.py").write_text(f"# {secret}\n")
    (tree / "docs" / "private.md").write_text(f"{secret}\n")
    return tree


@pytest.fixture(scope="module")
def release(clone, run, tmp_path_factory):
    """The folder of a release that was built twice."""
    folder = tmp_path_factory.mktemp("release")
    output = run(".ci/release.py", folder, "--twice", cwd=clone, UV=programs.uv())
    assert "built twice: the same bytes" in output
    return folder


def test_holds_a_wheel_an_sdist_a_bundle_a_bill_of_materials_and_their_hashes(release):
    named = dict(
        reversed(line.split("  ", 1))
        for line in (release / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )

    kinds = [re.sub(r"^doubleword[-_]batch|-[\d.]+\d(-py3-none-any)?", "", name) for name in named]
    assert kinds == [".cdx.json", ".mcpb", ".whl", ".tar.gz"]
    assert {path.name for path in release.iterdir()} == {"SHA256SUMS", *named}
    for name, digest in named.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


def test_takes_nothing_that_is_not_committed(release, secret):
    for pattern, read in (("*.whl", files_of_wheel), ("*.mcpb", files_of_wheel)):
        files = read(next(release.glob(pattern)))
        assert [name for name, content in files.items() if secret.encode() in content] == []
    files = files_of_sdist(next(release.glob("*.tar.gz")))
    assert [name for name, content in files.items() if secret.encode() in content] == []


def test_the_bundle_holds_the_package_and_what_installs_it(release, names):
    outside = {"manifest.json", "pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    files = files_of_wheel(next(release.glob("*.mcpb")))

    package = {name for name in names if name.startswith("server/")}
    assert set(files) == package | outside | {"CHANGELOG.md", "SECURITY.md"}


def test_the_bill_names_every_package_that_the_lock_installs_and_its_hashes(release, clone):
    lock = tomllib.loads((clone / "uv.lock").read_text(encoding="utf-8"))
    bill = json.loads(next(release.glob("*.cdx.json")).read_text(encoding="utf-8"))
    named = {part["name"]: part for part in bill["components"]}

    (ours,) = (package for package in lock["package"] if package["name"] == "doubleword-batch")
    direct = [
        *ours["dependencies"],
        *(d for e in ours["optional-dependencies"].values() for d in e),
    ]
    assert bill["bomFormat"] == "CycloneDX"
    assert {dependency["name"] for dependency in direct} <= set(named)
    assert all(part["version"] and part["purl"] for part in named.values())
    assert named["httpx"]["externalReferences"][0]["hashes"]
    assert "pytest" not in named
