"""A local batch server that simulates, as a process of its own; prints where it listens."""

import json
import sys
from pathlib import Path

from doubleword_batch.local import Faults, LocalConfig, serve
from doubleword_batch.local.executors.faults import Match, RequestFault

FAULTS = Faults(
    requests=(
        RequestFault(fault="flaky", match=Match(contains="Say row 2,"), times=1),
        RequestFault(fault="flaky", match=Match(contains="Say row 9,"), times=1),
        RequestFault(fault="truncated", match=Match(contains="Say row 6,")),
        RequestFault(fault="flaky", match=Match(contains="Say new 3"), times=1),
        RequestFault(fault="truncated", match=Match(contains="Say new 0")),
        RequestFault(fault="hold", match=Match(contains="Hold"), until="/never"),
    )
)


def main():
    # One batch_run a request, so that a flaky one fails, and succeeds only when it is retried.
    config = LocalConfig(home=Path(sys.argv[1]), max_attempts=1, faults=FAULTS)
    serve(
        config,
        lambda running: print(
            json.dumps({"base_url": running.base_url, "token": running.token}), flush=True
        ),
    )


main()
