#!/usr/bin/env python3
"""Runs JSONL request files as batches: upload, create, wait, fetch both result files.

Safe to run again after anything, also after a kill: what was sent is written down in
FILE.state.json, the server is searched before anything is sent, and downloads go on where they
stopped. Results appear as FILE.results.jsonl and FILE.errors.jsonl, whole or not at all.

The key comes from DOUBLEWORD_API_KEY only; DOUBLEWORD_BASE_URL names another server (https, or
http on this machine); DOUBLEWORD_BATCH_MAX_COST_USD is a cap that --max-cost cannot raise.
Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from decimal import Decimal, InvalidOperation
from pathlib import Path

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # which `python3 -I` leaves out

from batchkit.api import Api  # noqa: E402  # after the lines above
from batchkit.ending import Exit, end, exit_codes  # noqa: E402
from batchkit.locking import locked  # noqa: E402
from batchkit.run import Run, Terms  # noqa: E402
from batchkit.settings import read_settings  # noqa: E402

_CANCEL_SECONDS = 60.0


def main() -> Exit:
    """Submit every file, then follow each to its end."""
    options = _parser().parse_args()
    settings = read_settings()
    api = Api(settings, options.patience)
    with ExitStack() as locks:
        paths = [Path(file) for file in options.files]
        for path in paths:
            locks.enter_context(locked(path))
        terms = Terms(options.window, options.max_cost, options.poll, options.in_doubt)
        runs = [Run(api, settings, path, terms) for path in paths]
        for run in runs:
            if options.estimate:
                run.estimate()
            elif options.cancel:
                run.cancel()
            else:
                run.submit()
        if options.estimate or options.no_wait:
            return Exit.DONE
        seconds = options.timeout or (_CANCEL_SECONDS if options.cancel else None)
        deadline = None if seconds is None else time.monotonic() + seconds
        return max(run.follow(deadline) for run in runs)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _usd(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or value < 0:
        raise ValueError(text)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes(*(code for code in Exit)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="a JSONL request file")
    add("--window", default="24h", help="completion window: 24h (cheapest, the default) or 1h")
    add("--max-cost", type=_usd, metavar="USD", help="submit nothing above this")
    add("--estimate", action="store_true", help="upload, show the server's estimate, and stop")
    add("--no-wait", action="store_true", help="submit and stop; the same command goes on later")
    add("--cancel", action="store_true", help="stop the batch and fetch what it has answered")
    add("--timeout", type=_seconds, metavar="SECONDS", help="stop waiting then; the batch goes on")
    add("--poll", type=_seconds, default=30.0, metavar="SECONDS", help="most between looks (30)")
    add(
        "--patience",
        type=_seconds,
        default=180.0,
        metavar="SECONDS",
        help="how long to repeat a request that fails (180)",
    )
    add(
        "--in-doubt",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to look for a batch whose creation was never answered (60)",
    )
    return parser


if __name__ == "__main__":
    end(main)
