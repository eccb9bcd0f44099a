"""A folder to put files into, and the ways from there to a source and to request files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from doubleword_batch.paths import Roots
from doubleword_batch.providers import Profile, profile
from doubleword_batch.sources import Source, open_source


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots([tmp_path])


@pytest.fixture
def source(tmp_path: Path, roots: Roots) -> Callable[[str, str | bytes], Source]:
    """Write a file and open it."""

    def make(name: str, content: str | bytes) -> Source:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return open_source(name, roots)

    return make


@pytest.fixture
def doubleword() -> Profile:
    return profile("doubleword")
