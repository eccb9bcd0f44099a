"""Request files written again without some of their rows."""

from pathlib import Path

import pytest

from doubleword_batch.errors import StoreError
from doubleword_batch.requests.rewrite import without_rows
from unit.requests.conftest import spec


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_disk_that_fills_with_the_last_lines_put_aside_is_told(
    table, build, doubleword, tmp_path
):
    built = build(table())
    with pytest.raises(StoreError) as refused:
        without_rows(
            built,
            spec(),
            doubleword,
            tmp_path / "job",
            lambda row: row == 2,
            aside=(Path("/dev/full"), lambda _: True),
        )
    assert refused.value.code == "disk_full"
