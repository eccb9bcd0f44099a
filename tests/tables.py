"""Tables that were written, read back."""

import csv
import json


def rows_of(path):
    """The rows of a CSV, every value a text, or of JSON Lines."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]
