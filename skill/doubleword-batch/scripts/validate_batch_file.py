#!/usr/bin/env python3
"""Checks JSONL request files for the Batch API: all faults at once, with their lines.

Nothing is sent. Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

from batchkit.cli import OFFLINE, Exit, run_script, say, script_parser
from batchkit.limits import Limits
from batchkit.tables import refuse_table
from batchkit.validate import FIXES, check_file

if TYPE_CHECKING:
    import argparse

    from batchkit.validate import Report


def main() -> Exit:
    """Check every file and print its faults."""
    options = _parser().parse_args()
    for path in options.files:
        refuse_table(Path(path))
    reports = {path: check_file(Path(path), Limits()) for path in options.files}
    for path, report in reports.items():
        if options.json:
            say(json.dumps(_as_object(path, report)))
        else:
            _show(path, report)
    return Exit.DONE if all(report.is_ok for report in reports.values()) else Exit.INCOMPLETE


def _show(path: str, report: Report) -> None:
    verdict = "sound" if report.is_ok else "has faults"
    say(f"{path}: {report.requests} requests, {verdict}")
    for kind, faults in report.faults.items():
        say(f"  {kind} ({report.counts[kind]}): {FIXES[kind]}")
        for fault in faults:
            place = f"line {fault.line}: " if fault.line else ""
            say(f"    {place}{fault.message}")


def _as_object(path: str, report: Report) -> dict[str, object]:
    return {
        "path": path,
        "requests": report.requests,
        "ok": report.is_ok,
        "endpoint": report.endpoint,
        "faults": [
            {
                "kind": kind,
                "count": report.counts[kind],
                "first": [fault._asdict() for fault in faults],
                "fix": FIXES[kind],
            }
            for kind, faults in report.faults.items()
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, OFFLINE)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a JSONL request file")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")
    return parser


if __name__ == "__main__":
    run_script(main)
