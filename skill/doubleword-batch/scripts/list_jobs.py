#!/usr/bin/env python3
"""Lists the server's batches, newest first, with the job each belongs to; or the key's models.

Nothing is changed. The key comes from DOUBLEWORD_API_KEY only; DOUBLEWORD_BASE_URL names another
server. Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.dont_write_bytecode = True  # the skill's folder is not ours to write into
sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

from batchkit.api import Api
from batchkit.batch_status import (
    counts_of,
    models_of,
    objects_of,
    status_of,
)
from batchkit.cli import Exit, count, quoted, run_script, say, script_parser, seconds
from batchkit.json_values import object_of
from batchkit.settings import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_PAGE = 100
_MOST_SEARCHED = 1000
_CODES = frozenset(Exit) - {Exit.INPUT, Exit.STATE, Exit.INCOMPLETE, Exit.RUNNING}


def main() -> Exit:
    """Print one line for each."""
    options = _parser().parse_args()
    api = Api(read_settings(), options.patience)
    lines = _models(api) if options.kind == "models" else _batches(api, options.status)
    wanted = options.search.lower()
    found = list(islice((line for line in lines if wanted in line.lower()), options.limit + 1))
    for line in found[: options.limit] or ["nothing"]:
        say(line)
    if len(found) > options.limit:
        say("there are more: --limit shows more, --search narrows them down")
    return Exit.DONE


def _models(api: Api) -> Iterator[str]:
    for name in models_of(api.get("/models")):
        yield quoted(name, 120).strip("«»")


def _batches(api: Api, status: str | None) -> Iterator[str]:
    after: str | None = None
    for _ in range(_MOST_SEARCHED // _PAGE):
        page = api.get("/batches", limit=_PAGE, **({"after": after} if after else {}))
        data = objects_of(page)
        for batch in data:
            if status is None or status_of(batch) == status_of({"status": status}):
                yield _line(batch)
        last = str(data[-1].get("id")) if data else None
        if not page.get("has_more") or last in {None, after}:
            return
        after = last


def _line(batch: dict[str, Any]) -> str:
    answered, failed, total = counts_of(batch)
    job = object_of(batch.get("metadata")).get("dwb_job")
    facts = [
        status_of(batch),
        f"{answered + failed} of {total or '?'} done, {failed} failed",
        f"job {job}" if job else "",
        f"window {batch.get('completion_window')}",
    ]
    line = ", ".join(fact for fact in facts if fact)
    return quoted(f"{batch.get('id')}: {line}", 300).strip("«»")


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, _CODES)
    add = parser.add_argument
    add("kind", nargs="?", choices=("jobs", "models"), default="jobs", help="jobs is the default")
    add("--status", metavar="WORD", help="only batches with this status, such as in_progress")
    add("--search", default="", metavar="TEXT", help="only lines with this text")
    add("--limit", type=count, default=20, metavar="N", help="lines at most (20)")
    add("--patience", type=seconds, default=30.0, metavar="SECONDS", help="how long to retry (30)")
    return parser


if __name__ == "__main__":
    run_script(main)
