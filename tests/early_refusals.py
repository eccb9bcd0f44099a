"""The statuses and sizes for which servers refuse before they have read the body.

With DOUBLEWORD_BATCH_TEST_LARGE=1 every status is tried with the largest size as well; otherwise
one, because what 2 MB and 50 MB show is the same.
"""

import os
from itertools import product

STATUSES = (401, 403, 413, 429)
_IS_WHOLE = bool(os.environ.get("DOUBLEWORD_BATCH_TEST_LARGE"))


def of_largest(*statuses):
    """All statuses, or these where not everything is tried."""
    return STATUSES if _IS_WHOLE else statuses


def cases(*sizes):
    """(status, size), the largest size last."""
    *small, largest = sizes
    return [*product(STATUSES, small), *product(of_largest(429), [largest])]
