"""What every test shares."""

import os
import signal
import socket
import sys
from pathlib import Path

import hypothesis
import pytest

import shared_authorities
import windows_sharing

# A shell that starts the tests in the background has them ignore SIGINT, and what is ignored is
# inherited: no child could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform == "linux":
    windows_sharing.enforce()
shared_authorities.share()

# A deadline measures the machine: where others work beside the tests, any example can pass it.
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

HOSTS = "tests/hosts/"
LONG_FOLDERS = (
    *("hosts", "crash", "console", "engines", "demo", "faults", "contract", "executors"),
    *("cascade", "batch_openai", "cli", "packages", "agents", "fuzz", "attacks", "library"),
)


def pytest_xdist_auto_num_workers():
    """One worker more than cores: many tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """Begin with the folders whose files take longest: none is left to one worker at the end."""
    tests = Path(__file__).parent

    def rank(item):
        folder = item.path.relative_to(tests).parts[0]
        return LONG_FOLDERS.index(folder) if folder in LONG_FOLDERS else len(LONG_FOLDERS)

    items.sort(key=rank)
    if sys.platform == "win32":
        for item in items:
            if mark := item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason=f"POSIX: {mark.args[0]}"))


def pytest_terminal_summary(terminalreporter):
    """One line on how many tests of the hosts were skipped: it must be seen that they did not run.

    It stands here because the process that reports, where workers run the tests, reads no other
    conftest.
    """
    counts = {
        outcome: sum(
            report.nodeid.startswith(HOSTS) and getattr(report, "when", "") != "teardown"
            for report in terminalreporter.stats.get(outcome, [])
        )
        for outcome in ("passed", "failed", "error", "xfailed", "xpassed", "skipped")
    }
    skipped = counts.pop("skipped")
    if skipped or any(counts.values()):
        terminalreporter.write_line(
            f"tests with the hosts' own tools: {sum(counts.values())} run, {skipped} skipped"
        )


@pytest.fixture
def unused_url() -> str:
    """A base URL at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
