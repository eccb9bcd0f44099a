"""A server answers with what unpacks to gigabytes; more such replies are in tests/wire."""

import sys

import pytest

from doubleword_batch import errors
from doubleword_batch.api import download
from wire.conftest import bounded  # noqa: F401  # applies by itself
from wire.scripted_server import serving
from wire.test_hostile_replies import ID, packed, zipped


@pytest.mark.posix("the memory of this process")
async def test_a_reply_that_unpacks_to_gigabytes_is_refused_at_the_bound(connect):
    import resource

    def peak_mb():
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit

    before = peak_mb()
    async with serving(packed(zipped(2 << 30), "gzip")) as server:
        with pytest.raises(errors.ProtocolError, match="is larger than"):
            await connect(server.base_url, max_retry_seconds=0).models.list()
    assert peak_mb() - before < 150


async def test_a_line_that_unpacks_to_gigabytes_is_refused_at_the_bound(connect, monkeypatch):
    monkeypatch.setattr(download, "MAX_LINE_BYTES", 8 << 20)
    async with serving(packed(zipped(1 << 30), "gzip")) as server:
        with pytest.raises(errors.ProtocolError, match="a line longer than"):
            await connect(server.base_url, max_retry_seconds=0).files.content(ID, lambda _: None)
