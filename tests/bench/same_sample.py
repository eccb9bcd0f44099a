"""Why a cascade draws its sample anew: what the same sample would say of the next table.

    python tests/bench/same_sample.py [--runs 400]

Simulated. Of 2,000 rows the strong model calls two fifths urgent, and the cheap model takes some
of those for others. On the next day 100 rows are new, and of the old ones either all are still
there, or those that were called urgent are done and gone. The target is missed where the rows that
keep the cheap answer agree with the strong model in less than 95 %.
"""

import argparse
from random import Random

from doubleword_batch.jobs.cascade.statistics import decide, draw, sample_size

TARGET, LEVELS, ROWS, NEW = 0.95, 100, 2_000, 100
URGENT = 0.4
OVERLOOKED = (0.02, 0.03, 0.04, 0.05)


def rows_of(random, count, overlooked):
    """(doubt, label of the strong model, label of the cheap one) of each row."""
    rows = []
    for _ in range(count):
        strong = random.random() < URGENT
        cheap = strong and random.random() >= overlooked / URGENT
        rows.append((random.randrange(LEVELS), strong, cheap))
    return rows


def drawn(random, rows):
    """The sample of a table."""
    places = random.sample(range(len(rows)), len(rows))
    return draw(places, sample_size(len(rows), TARGET)).counted


def accepted(rows, sample):
    """The most doubt that is accepted; -1 for none."""
    by_doubt = [0] * LEVELS
    for doubt, *_ in rows:
        by_doubt[doubt] += 1
    pairs = [(rows[n][0], rows[n][1] == rows[n][2]) for n in sample]
    limit = decide(by_doubt, pairs, TARGET).limit
    return -1 if limit is None else limit


def is_missed(random, overlooked, *, same, handled):
    """Whether the second day's table misses the target."""
    first = rows_of(random, ROWS, overlooked)
    sample = drawn(random, first)
    limit = accepted(first, sample)
    table = []  # the row; whether it was in the sample; whether the strong model has answered it
    for n, row in enumerate(first):
        is_strong = n in sample or row[0] > limit
        if not (handled and row[1 if is_strong else 2]):
            table.append((row, n in sample, is_strong))
    share = len(sample) / ROWS
    new = rows_of(random, NEW, overlooked)
    table += [(row, random.random() < share, False) for row in new]
    left = [(row, was) for row, was, is_strong in table if not is_strong or (same and was)]
    rows = [row for row, _ in left]
    sample = {n for n, (_, was) in enumerate(left) if was} if same else drawn(random, rows)
    limit = accepted(rows, sample)
    kept = [row for n, row in enumerate(rows) if n not in sample and row[0] <= limit]
    return sum(strong == cheap for _, strong, cheap in kept) < TARGET * len(kept)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print("| overlooked by the cheap model | old rows | sample anew | same sample |")
    print("|---|---|---|---|")
    for handled in (False, True):
        for overlooked in OVERLOOKED:
            missed = []
            for same in (False, True):
                random = Random(f"{handled} {overlooked}")
                missed.append(
                    sum(
                        is_missed(random, overlooked, same=same, handled=handled)
                        for _ in range(runs)
                    )
                )
            old = "the urgent ones are gone" if handled else "all are there"
            counts = " | ".join(f"{count} of {runs}" for count in missed)
            print(f"| {overlooked:.0%} of the rows | {old} | {counts} |", flush=True)


if __name__ == "__main__":
    main()
