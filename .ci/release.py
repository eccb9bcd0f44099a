"""Make everything that a release hands out, from what is committed and nothing else.

The wheel, the sdist, the bundle for hosts, a bill of materials, and the hashes of all four. The
tree is taken out of git first, so that what lies about in a clone cannot get in. Two runs over one
commit give the same bytes; `--twice` builds two times and compares.

    uv run --locked --only-group release .ci/release.py dist
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "doubleword-batch"
# Beside the package, what the host reads and what `uv` installs from.
BESIDE = (
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "manifest.json",
    "pyproject.toml",
    "uv.lock",
)
SUMS = "SHA256SUMS"


def main(arguments: list[str] | None = None) -> int:
    """Build into a folder, and with `--twice` into another one to compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commit", default="HEAD", help="what is built (HEAD)")
    parser.add_argument("--twice", action="store_true", help="build again and compare the hashes")
    asked = parser.parse_args(arguments)
    sums = build(asked.folder, asked.commit)
    print(sums, end="")
    if not asked.twice:
        return 0
    with tempfile.TemporaryDirectory() as again:
        if build(Path(again), asked.commit) != sums:
            print("the second build differs from the first", file=sys.stderr)
            return 1
    print("built twice: the same bytes")
    return 0


def build(folder: Path, commit: str) -> str:
    """Build a commit's files into an empty folder; their hashes, a line each."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty: a release takes nothing from an earlier one")
    with tempfile.TemporaryDirectory() as temporary:
        tree = take_out(commit, Path(temporary) / "tree")
        packages(tree, folder.resolve())
        bundle(tree, folder)
        bill_of_materials(tree, folder)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return "".join(lines)


def take_out(commit: str, tree: Path) -> Path:
    """A commit's files, as git has them."""
    archive = tree.with_suffix(".tar")
    run("git", "-C", str(ROOT), "archive", "--format=tar", f"--output={archive}", commit)
    with tarfile.open(archive) as packed:
        packed.extractall(tree, filter="data")
    return tree


def packages(tree: Path, folder: Path) -> None:
    """The sdist, and the wheel; the build's own packages are those of the lock, not the newest."""
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=tree)


def bundle(tree: Path, folder: Path) -> None:
    """What the wheel holds of the package, and the files beside it, with no dates and in order."""
    (wheel,) = folder.glob("*.whl")
    files = {name: (tree / name).read_bytes() for name in BESIDE}
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if name.startswith("doubleword_batch/"):
                files[f"server/{name}"] = packed.read(name)
    with zipfile.ZipFile(folder / f"{NAME}.mcpb", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, files[name])


def bill_of_materials(tree: Path, folder: Path) -> None:
    """Every package that the lock installs, extras included, as CycloneDX."""
    uv = os.environ.get("UV") or shutil.which("uv") or sys.exit("uv is needed for the SBOM")
    exported = run(
        uv, "export", "--quiet", "--frozen", "--format", "cyclonedx1.5", "--all-extras", "--no-dev",
        cwd=tree,
    )  # fmt: skip
    bill = json.loads(exported)
    # The two members that differ at every run: when, and a random number.
    bill["metadata"].pop("timestamp", None)
    content = json.dumps(bill | {"serialNumber": ""}, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    text = json.dumps(bill, indent=2) + "\n"
    (folder / f"{NAME}.cdx.json").write_text(text, encoding="utf-8")


def run(*command: str, cwd: Path | None = None) -> str:
    """A program's standard output; what it says besides goes where ours goes."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
