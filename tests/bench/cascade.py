"""The table of docs/paying-once.md: what a cascade saves, and how often it misses its target.

    python tests/bench/cascade.py [--runs 400]

Simulated, so that the truth is known: of some rows the cheap model is sure and agrees with the
strong one in 99.5 %, of the others in 30 %, as many as give its accuracy; or its score tells
nothing. Cost is compared with the strong model for all rows, at twenty times the cheap price. The
sample and the decision are the package's own. Runs repeat: the same number gives the same table.
"""

import argparse
from random import Random

from doubleword_batch.jobs.cascade.statistics import decide, draw, sample_size

TARGET, LEVELS, CHEAPER = 0.95, 100, 20
SURE, GUESSES = 0.995, 0.3
ACCURACIES = (0.67, 0.75, 0.85, 0.92)


def world(random, count, accuracy, *, tells):
    """(doubt, agrees) of each request."""
    share = (accuracy - GUESSES) / (SURE - GUESSES) if tells else 0
    requests = []
    for _ in range(count):
        is_sure = random.random() < share
        chance = SURE if is_sure else GUESSES if tells else accuracy
        score = random.uniform(0.5, 1) if is_sure else random.uniform(0, 0.6 if tells else 1)
        doubt = min(LEVELS - 1, int(LEVELS * (1 - score)))
        requests.append((doubt, random.random() < chance))
    return requests


def run(random, requests, weight_of):
    """Share of the requests that the strong model gets; whether the rows that stay miss."""
    weights = [weight_of(n) for n in range(len(requests))]
    by_doubt = [0] * LEVELS
    for weight, (doubt, _) in zip(weights, requests, strict=True):
        by_doubt[doubt] += weight
    rows = [n for n, weight in enumerate(weights) for _ in range(weight)]
    places = random.sample(rows, min(len(rows), 8_000))
    drawn = draw(places, sample_size(len(requests), TARGET))
    limit = decide(by_doubt, [requests[n] for n in drawn.counted], TARGET).limit
    kept = [
        n
        for n, (doubt, _) in enumerate(requests)
        if limit is not None and doubt <= limit and n not in drawn.requests
    ]
    agreeing = sum(weights[n] for n in kept if requests[n][1])
    is_missed = agreeing < TARGET * sum(weights[n] for n in kept)
    return 1 - len(kept) / len(requests), is_missed


def line(title, runs, count, accuracies, *, tells=True, weight_of=lambda _: 1):
    """One row of the table."""
    random = Random(f"{title} {count}")
    found = [
        run(random, world(random, count, random.uniform(*accuracies), tells=tells), weight_of)
        for _ in range(runs)
    ]
    strong = sum(share for share, _ in found) / runs
    missed = sum(is_missed for _, is_missed in found)
    cost = strong + 1 / CHEAPER
    print(f"| {count:,} | {title} | {strong:.0%} | {cost:.0%} | {missed} of {runs:,} |", flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print("| requests | accuracy of the cheap model | for the strong model | cost | missed |")
    print("|---|---|---|---|---|")
    for accuracy in ACCURACIES:
        line(f"{accuracy:.0%}", runs, 1_000, (accuracy, accuracy))
    line("67 to 92 %, the score tells nothing", runs, 1_000, (0.67, 0.92), tells=False)
    line("94 %, the score tells nothing", runs, 1_000, (0.94, 0.94), tells=False)
    line(
        "85 %, equal rows: 200 of the first, 100 of the second, ...",
        runs,
        1_000,
        (0.85, 0.85),
        weight_of=lambda n: max(1, 200 // (n + 1)),
    )
    line("85 %, ten equal rows of each", runs, 1_000, (0.85, 0.85), weight_of=lambda _: 10)
    for accuracy in ACCURACIES:
        line(f"{accuracy:.0%}", max(runs // 8, 1), 10_000, (accuracy, accuracy))


if __name__ == "__main__":
    main()
