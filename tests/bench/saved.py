"""The table of docs/paying-once.md in money: what each way of paying once saves.

    python tests/bench/saved.py [--rows 10000]

Jobs are built and run by the library against the local server's simulated model, under the name of
a provider that bills: amounts are the package's own estimates at its dated prices, with up to 200
output tokens a row. "Without" is the same table as a new run that sends every row; "with" is what
is sent. The cascade's share for the strong model is the median of simulated runs, see `cascade.py`.
"""

import argparse
import asyncio
import csv
import tempfile
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median

import cascade
from doubleword_batch import Jobs
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.settings import Settings

CHEAP, STRONG = "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-397B-A17B"
PROMPT = "Say in one word whether this is praise or blame: {{ text }}"
REVIEW = "The parcel came late, the box was open, and what was in it works. Number {n}."
SEPARATE = {"equal_rows": "separate"}
ACCURACY, RUNS = 0.85, 20


def table(path: Path, numbers: list[int]) -> Path:
    """A table of reviews, one for each number."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text"])
        rows.writerows([REVIEW.format(n=n)] for n in numbers)
    return path


def line(what: str, rows: int, sent: int | str, without: Decimal, with_it: Decimal) -> None:
    """One row of the table."""
    saved = 1 - with_it / without
    shown = f"{sent:,}" if isinstance(sent, int) else sent
    amounts = f"{dollars(without)} | {dollars(with_it)}"
    print(f"| {what} | {rows:,} | {shown} | {amounts} | {saved:.1%} |", flush=True)


def dollars(usd: Decimal) -> str:
    """An amount as it is read: two digits, or cents."""
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.2g}"


def amount(usd: Decimal | None) -> Decimal:
    """An amount that has to be known."""
    if usd is None:
        raise SystemExit("a price of the example is not on file any more")
    return usd


async def measure(jobs: Jobs, folder: Path, count: int) -> None:
    """Build and run the examples, and print their rows."""
    create = {"prompt": PROMPT, "model": CHEAP, "params": {"max_tokens": 200}}

    async def compare(what: str, numbers: list[int]) -> None:
        path = table(folder / "table.csv", numbers)
        every = await jobs.create(path, **create, new_run=True, options=SEPARATE)
        ours = (await jobs.create(path, **create)).created
        costs = amount(every.created.cost_usd), amount(ours.cost_usd)
        line(what, len(numbers), ours.requests, *costs)

    numbers = list(range(count))
    first = await jobs.create(table(folder / "table.csv", numbers), **create)
    await first.submit()
    await first.wait(600)
    await first.results()
    await compare("the table again, 3 of its rows changed", [*numbers[3:], -1, -2, -3])
    await compare("the table again, a tenth of it new", range_from(count, count // 10))
    names = [count * 2 + n % (count * 1_129 // 2_000) for n in range(count)]
    await compare("a list with 56 % different entries", names)

    path = table(folder / "table.csv", [count * 4 + n for n in range(count)])
    cheap = (await jobs.create(path, **create)).created
    strong = (await jobs.create(path, **create | {"model": STRONG})).created
    random = Random(ACCURACY)
    share = median(
        cascade.run(random, cascade.world(random, count, ACCURACY, tells=True), lambda _: 1)[0]
        for _ in range(RUNS)
    )
    all_strong = amount(strong.cost_usd)
    both = amount(cheap.cost_usd) + Decimal(share) * all_strong
    sent = f"{count:,} + {round(share * count):,}"
    line("a cascade, compared with the strong model for all", count, sent, all_strong, both)
    by_window = {window.completion_window: window.cost_usd for window in strong.windows}
    day, hour = amount(by_window["24h"]), amount(by_window["1h"])
    line("the strong model within 24h, compared with 1h", count, count, hour, day)
    realtime = amount(strong.realtime_usd)
    line("the strong model within 24h, compared with single calls", count, count, realtime, day)


def range_from(count: int, new: int) -> list[int]:
    """`count` numbers, of which the last `new` were not there before."""
    return [*range(count - new), *range(count, count + new)]


async def run(count: int) -> None:
    """The table, from a state directory and a server of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalServer(LocalConfig(home=folder / "server", executor="simulate")) as server:
            settings = Settings.from_environment(
                {
                    "DOUBLEWORD_BATCH_HOME": str(folder / "home"),
                    "DOUBLEWORD_API_KEY": server.token,
                    "DOUBLEWORD_BASE_URL": server.base_url,
                    "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
                }
            )
            async with Jobs(settings) as jobs:
                await measure(jobs, folder, count)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    count = parser.parse_args().rows
    print("| what was done | rows | sent | without | with | saved |")
    print("|---|---|---|---|---|---|")
    asyncio.run(run(count))


if __name__ == "__main__":
    main()
