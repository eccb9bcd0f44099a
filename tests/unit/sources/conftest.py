"""What tests of sources share."""

import pytest

from doubleword_batch.sources import open_source, write_objects


@pytest.fixture
def rows_of(tmp_path, roots):
    """Write an object and read its rows."""

    def read(data):
        count = write_objects(data, tmp_path / "rows.jsonl")
        rows = list(open_source("rows.jsonl", roots).rows())
        assert len(rows) == count
        return rows

    return read
