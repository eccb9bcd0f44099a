"""The same work on ever more rows: time grows with them, memory does not."""

import importlib.util
import tempfile
from pathlib import Path

import data
from measuring import run
from rendering import line, memory
from wire_server import serving

ROW_BYTES = 200


def grow(sizes, disk, ours):
    """Every stage at each number of rows, each in a process of its own.

    Args:
        sizes: numbers of rows.
        disk: where the data goes; about 2.5 GB for a million rows.
        ours: makes a command of a stage, its folder and its arguments.
    """
    forms = ["jsonl", "csv", *(["parquet"] if importlib.util.find_spec("duckdb") else [])]
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=disk) as place:
            folder = Path(place)
            data.write_table(folder / "table.csv", rows, ROW_BYTES)
            _report("build", rows, run(ours("build", folder)))
            requests, results = folder / "requests.jsonl", folder / "results.jsonl"
            data.write_results(results, requests, ROW_BYTES)
            _report("validate", rows, run(ours("validate", folder)))
            with serving(results) as url:
                _report("upload", rows, run(ours("upload", folder, url)))
                _report("download", rows, run(ours("download", folder, url)))
            (folder / "down.jsonl").unlink()
            _report("collect", rows, run(ours("lines", folder)))
            results.unlink()
            for form in forms:
                _report(f"export {form}", rows, run(ours("export", folder, form)))
            _report("query, first", rows, run(ours("query", folder)))


def _report(stage, rows, taken):
    line(
        f"{stage}, {rows:,} short rows",
        f"{taken.seconds:.2f} s",
        peer=f"{rows / taken.seconds:,.0f} rows/s",
        peak=memory(taken),
    )
