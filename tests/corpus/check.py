"""Every file of the corpus, through a source, a prompt and the tables of a job.

    cd tests && python -m corpus.check [PART OF A NAME ...]

prints the number of files and every value that differs from what the file's own tool reads; it
ends with 1 where one does. `just corpus` is the same.
"""

import argparse
import asyncio
import csv
import json
import sys
import tempfile
from pathlib import Path

from corpus.files import corpus
from doubleword_batch import Jobs, Settings
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from doubleword_batch.sources.values import as_text

BETWEEN = "\x1f"


def source_rows(file, path):
    """The texts of the rows as the source has them."""
    rows = open_source(str(path), Roots([path.parent]), file.options).rows()
    return [{name: as_text(value) for name, value in row.items()} for row in rows]


def differences(expected, found, where):
    """Each value that differs, in words.

    A column of Parquet has one type: beside 0.5 a 3 is 3.0 there.
    """
    if len(expected) != len(found):
        yield f"{where}: {len(found)} rows, not {len(expected)}"
    for number, (own, ours) in enumerate(zip(expected, found, strict=False), 1):
        if list(own) != list(ours):
            yield f"{where}: columns {list(ours)}, not {list(own)}"
            return
        for name, text in own.items():
            if ours[name] != text and not (where == "parquet" and ours[name] == f"{text}.0"):
                yield f"{where}: row {number}, {name}: {ours[name]!r}, not {text!r}"


def prompts_of(request_files):
    """What each request line asks."""
    for path in request_files:
        with Path(path).open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["body"]["messages"][-1]["content"]


async def job_rows(jobs, file, path, folder):
    """(what, texts of the rows) of the prompts, and of a job's tables in each format."""
    names = list(open_source(str(path), Roots([path.parent]), file.options).columns)
    options = {name: getattr(file.options, name) for name in file.options.given()}
    prompt = BETWEEN.join(f"{{{{ row['{name}'] }}}}" for name in names)
    # every row as a request of its own, which equal rows and answers of other files are not
    options = {"blanks": "send", "equal_rows": "separate", **options}
    job = await jobs.create(path, prompt=prompt, options=options, new_run=True)
    prompts = []
    for content in prompts_of(job.created.paths):
        prompts.append(dict(zip(names, content.split(BETWEEN), strict=True)))  # noqa: PERF401
    yield "prompt", prompts
    await job.submit()
    await job.wait(timeout_seconds=120)
    for suffix in ("csv", "jsonl", "parquet"):
        results = await job.results(folder / f"{path.name}.{suffix}", formulas=True, lock=False)
        if suffix == "csv":
            with results.path.open(encoding="utf-8-sig", newline="") as table:
                rows = list(csv.DictReader(table))
        else:
            rows = list(results.rows())
        yield suffix, [{name: as_text(row[name]) for name in names} for row in rows]


async def check(files, folder, *, jobs=None):
    """Write and check files; (name, differences) of each.

    Args:
        files: of the corpus.
        folder: where to write them.
        jobs: with which whole jobs are made of them; None: the source alone.
    """
    for file in files:
        path = folder / file.name
        file.write(path)
        own = file.own(path)
        if not own or not own[0]:
            raise AssertionError(f"{file.name}: its own tool reads nothing")
        found = list(differences(own, source_rows(file, path), "source"))
        if jobs is not None:
            async for what, rows in job_rows(jobs, file, path, folder):
                found += differences(own, rows, what)
        yield file.name, found


def settings(folder):
    """Settings of a job that is answered on this machine, without a model."""
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(folder / "state"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )


async def check_all(names, folder):
    """Check and print; the exit code."""
    files = [f for f in corpus() if not names or any(name in f.name for name in names)]
    differing = 0
    async with Jobs(settings(folder)) as jobs:
        async for name, found in check(files, folder, jobs=jobs):
            differing += len(found)
            print(f"{name}: {len(found)} differences" if found else f"{name}: the same")
            for difference in found[:20]:
                print(f"    {difference}")
            sys.stdout.flush()
    print(f"{len(files)} files, {differing} differences")
    return 1 if differing or not files else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only files with this in their names")
    names = parser.parse_args().names
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(check_all(names, Path(scratch).resolve()))


if __name__ == "__main__":
    sys.exit(main())
