"""Folders for the command line's tests; a process costs a second, so harmless ones are shared."""

import pytest

from cli.commands import ROWS, Shell


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    shell.write("rows.csv", ROWS)
    return shell


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One folder and state directory for tests that only look at what is there."""
    shell = Shell(tmp_path_factory.mktemp("shared"))
    shell.write("rows.csv", ROWS)
    return shell


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A folder whose provider costs money, where a person is asked above five cents."""
    shell = Shell(tmp_path_factory.mktemp("hosted"))
    shell.write("rows.csv", "text\ngood\nbad\n")
    with shell.hosted(DOUBLEWORD_BATCH_ASK_ABOVE_USD="0.05"):
        yield shell
