"""Instructions per row of a stage, of this tree and of an older one: free of other programs' noise.

    python tests/bench/instructions.py OLDER [--stages build,collect,calls] [--row-bytes 200]

OLDER is a clone of another commit with an environment of its own in `.venv`. On a shared machine
the seconds of single runs differ by a third, and the instructions that valgrind counts do not. Each
stage runs over two sizes, and what both have in common, such as its imports, is taken off. A stage
is a function of `ours.py`: build, validate, lines, collect; `calls` are those of BatchOpenAI.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from data import write_results, write_table
from instant_server import answering

HERE = Path(__file__).parents[2]
FEW, MANY = 1_000, 3_000
_SECONDS = 900
_COUNTED = re.compile(r"Collected : (\d+)")


def instructions_per_row(tree, stage, row_bytes, folder):
    """What a tree takes for each row of a stage."""
    counts = {}
    for rows in (FEW, MANY):
        place = folder / f"{rows}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if stage == "calls":
            counts[rows] = _count_calls(tree, place, rows)
            continue
        write_table(place / "table.csv", rows, row_bytes)
        ours = tree / "tests" / "bench" / "ours.py"
        _run(tree, ours, "build", place)
        write_results(place / "results.jsonl", place / "requests.jsonl", row_bytes)
        _run(tree, ours, stage, place)  # modules are compiled once
        counts[rows] = _count(_run(tree, ours, stage, place, before=_valgrind()))
    return (counts[MANY] - counts[FEW]) / (MANY - FEW)


def _count_calls(tree, place, calls):
    """The same of calls, with this tree's program: older ones have none, but the same names."""
    ours = HERE / "tests" / "bench" / "ours.py"
    with answering() as base_url:
        _run(tree, ours, "calls", place, base_url, calls)
        return _count(_run(tree, ours, "calls", place, base_url, calls, before=_valgrind()))


def _count(output):
    return int(_COUNTED.findall(output)[-1])


def _run(tree, ours, stage, place, *rest, before=()):
    command = [*before, tree / ".venv" / "bin" / "python", ours, stage, place, *rest]
    environment = os.environ | {"PYTHONHASHSEED": "0"}  # the same order of sets
    ended = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=_SECONDS,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    return ended.stderr


def _valgrind():
    found = shutil.which("valgrind")
    if found is None:
        sys.exit("This needs valgrind on the PATH, as systems package it.")
    return found, "--tool=callgrind", f"--callgrind-out-file={os.devnull}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", type=Path, help="the other tree")
    parser.add_argument("--stages", default="build,validate,collect")
    parser.add_argument("--row-bytes", type=int, default=200, help="of the text of a row")
    given = parser.parse_args()
    print(f"{'stage':10} {'then':>10} {'now':>10}  ratio, rows of {given.row_bytes} bytes")
    with tempfile.TemporaryDirectory() as folder:
        for stage in given.stages.split(","):
            then, now = (
                instructions_per_row(tree.resolve(), stage, given.row_bytes, Path(folder))
                for tree in (given.older, HERE)
            )
            print(f"{stage:10} {then:10,.0f} {now:10,.0f}  {now / then:.3f}", flush=True)


if __name__ == "__main__":
    main()
