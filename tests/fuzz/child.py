"""A process that feeds targets until its time is up; it may be ended, and its memory is bounded.

    python -m fuzz.child --seconds 60 --seed 7 --folder /tmp/fuzz csv xlsx

Ends with 1 at the first finding and says which number made it; `--again NUMBER` makes it anew. The
number that is fed lies in `TARGET.now` in the folder, for an input that ends the process.
"""

import argparse
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from fuzz.targets import TARGETS

MEMORY_BYTES = 3 << 30  # of addresses: DuckDB and a child for SQL reserve more than they use
ONE_CPU_SECONDS = 4


class TooSlowError(BaseException):
    """One input took more processor time than any input should."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them")
    parser.add_argument("--seconds", type=float, default=0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=0, help="the first number")
    parser.add_argument("--again", type=int, help="feed this number only, and show the input")
    parser.add_argument("--folder", type=Path, required=True, help="for scratch files")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _too_slow)
    targets = asked.targets or list(TARGETS)
    for name in targets:
        seconds = asked.seconds / len(targets)
        numbers = [asked.again] if asked.again is not None else _until(seconds, asked.seed)
        feed(name, numbers, asked.folder, show=asked.again is not None)


def feed(name, numbers, folder, *, show=False):
    """Feed a target the inputs of these numbers."""
    fed = 0
    (folder / name).mkdir(parents=True, exist_ok=True)
    with TARGETS[name](folder / name) as (make, check):
        for number in numbers:
            (folder / f"{name}.now").write_text(str(number), encoding="ascii")
            value = make(random.Random(number))  # repeatable is what it should be
            if show:
                print(f"{name} {number}: {value!r}", flush=True)
            signal.setitimer(signal.ITIMER_PROF, ONE_CPU_SECONDS)
            try:
                check(value)
            except BaseException:  # noqa: BLE001  # whatever it is, it is shown
                traceback.print_exc()
                sys.exit(f"finding: --again {number} {name}\n{value!r:.2000}")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            fed += 1
    print(f"{name}: {fed} inputs", flush=True)


def _until(seconds, first):
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        yield number
        number += 1


def _too_slow(_number, _frame):
    raise TooSlowError


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    main()
