"""The command `console`: its address, its port, and what it needs to start."""

import json
import os
import subprocess
import sys

import httpx
import pytest

import processes
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.console import app
from doubleword_batch.errors import ConfigError
from doubleword_batch.loopback import listen_on
from processes import COMMAND
from running_console import WAIT_SECONDS


def start(home, *options):
    environment = os.environ | {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    command = [*COMMAND, "console", "--no-browser", "--json"]
    return processes.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def test_two_consoles_on_one_state_directory_each_show_their_address(tmp_path):
    with (
        start(tmp_path / "home", "--port", "0") as first,
        start(tmp_path / "home", "--port", "0", "--read-only") as second,
    ):
        try:
            addresses = [json.loads(each.stdout.readline())["address"] for each in (first, second)]
            pages = []
            for address in addresses:
                with httpx.Client(timeout=WAIT_SECONDS) as browser:
                    browser.get(address).raise_for_status()
                    pages.append(browser.get(address.partition("/enter")[0]).text)
        finally:
            first.terminate()
            second.terminate()
    assert addresses[0] != addresses[1]
    assert ["New job" in page for page in pages] == [True, False]


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path):
    with listen_on(0, who="A test", backlog=1) as taken:
        port = taken.getsockname()[1]
        with start(tmp_path / "home", "--port", str(port)) as process:
            shown, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == Exit.CONFIG
    assert f"cannot listen on 127.0.0.1:{port}" in json.loads(shown)["error"]["message"]


def test_without_a_port_a_taken_one_is_passed_over_and_said(monkeypatch):
    with listen_on(0, who="A test", backlog=1) as taken:
        monkeypatch.setattr(app, "DEFAULT_PORT", taken.getsockname()[1])
        listener, note = app._listener(None)
        with listener:
            assert listener.getsockname()[1] != app.DEFAULT_PORT
        assert "is taken" in note
        with pytest.raises(ConfigError):
            app._listener(app.DEFAULT_PORT)


def test_the_console_starts_without_what_the_jobs_need(tmp_path):
    code = (
        "import sys, doubleword_batch.cli.servers, doubleword_batch.console.app\n"
        "heavy = ('pydantic', 'msgspec', 'jinja2', 'httpx', 'mcp', 'doubleword_batch.jobs.job')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
