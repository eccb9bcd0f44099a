#!/usr/bin/env python3
"""Runs JSONL request files as batches: upload, create, wait, fetch both result files.

Safe to run again after anything, even a kill: what was sent is recorded in FILE.state.json, the
server is searched before anything is sent, and downloads continue where they stopped. Results
appear as FILE.results.jsonl and FILE.errors.jsonl, whole or not at all.

The key comes from DOUBLEWORD_API_KEY only; DOUBLEWORD_BASE_URL names another server (https, or
http on this machine); DOUBLEWORD_BATCH_MAX_COST_USD is a cap that --max-cost cannot raise.
Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

from batchkit.api import Api
from batchkit.backoff import TimeLimit
from batchkit.cli import Exit, run_script, script_parser, seconds, usd
from batchkit.journal import locked
from batchkit.run import Run, RunOptions, refuse_shared_results
from batchkit.settings import read_settings

if TYPE_CHECKING:
    import argparse

_CANCEL_SECONDS = 60.0


def main() -> Exit:
    """Submit every file, then follow each to its end."""
    options = _parser().parse_args()
    time_limit = TimeLimit(options.timeout)
    settings = read_settings()
    api = Api(settings, options.patience, time_limit)
    with ExitStack() as locks:
        paths = [Path(file) for file in options.files]
        for path in paths:
            locks.enter_context(locked(path))
        refuse_shared_results(paths)
        run_options = RunOptions(options.window, options.max_cost, options.poll, options.in_doubt)
        runs = [Run(api, settings, path, run_options) for path in paths]
        for run in runs:
            if options.estimate:
                run.estimate()
            elif options.cancel:
                run.cancel()
            else:
                run.submit()
        if options.estimate or options.no_wait:
            return Exit.DONE
        if options.timeout is None and options.cancel:
            time_limit = TimeLimit(_CANCEL_SECONDS)
        return max(run.follow(time_limit) for run in runs)


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, Exit)
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="a JSONL request file")
    add("--window", default="24h", help="completion window: 24h (cheapest, the default) or 1h")
    add("--max-cost", type=usd, metavar="USD", help="submit nothing above this")
    add("--estimate", action="store_true", help="upload, show the server's estimate, and stop")
    add("--no-wait", action="store_true", help="submit and stop; the same command continues later")
    add("--cancel", action="store_true", help="stop the batch and fetch what it has answered")
    add(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="wait no longer than this, including connecting; the batch goes on",
    )
    add("--poll", type=seconds, default=30.0, metavar="SECONDS", help="most between polls (30)")
    add(
        "--patience",
        type=seconds,
        default=180.0,
        metavar="SECONDS",
        help="how long to retry a request that fails (180)",
    )
    add(
        "--in-doubt",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to look for a batch whose creation was never answered (60)",
    )
    return parser


if __name__ == "__main__":
    run_script(main)
