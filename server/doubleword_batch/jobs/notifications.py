"""Tells a person that a job has ended: runs their command, or shows a desktop notification.

Only a person sets either, in the environment or on the command line. The child process learns about
the job from its environment only: the name (letters, digits and hyphens), the status and counts; no
row, no answer, no key.
"""

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from doubleword_batch.child_environment import detached, environment_without_keys, program_in_path
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import Counts
from doubleword_batch.models import TERMINAL

_TITLE = "doubleword-batch"
_SYSTEM: str = "windows" if os.name == "nt" else "mac" if sys.platform == "darwin" else "other"
_MAC = (
    "on run words",
    "display notification (item 2 of words) with title (item 1 of words)",
    "end run",
)
# The texts come from the environment, so nothing of them is code.
_WINDOWS = """
$m = [Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, \
ContentType = WindowsRuntime]
$x = $m::GetTemplateContent([Windows.UI.Notifications.ToastTemplateType]::ToastText02)
$t = $x.GetElementsByTagName('text')
$t.Item(0).AppendChild($x.CreateTextNode($env:BATCH_TITLE)) | Out-Null
$t.Item(1).AppendChild($x.CreateTextNode($env:BATCH_WORDS)) | Out-Null
$n = [Windows.UI.Notifications.ToastNotification]::new($x)
$m::CreateToastNotifier('PowerShell').Show($n)
"""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 100

_log = logging.getLogger(__name__)


def wants_notification(ws: Workspace) -> bool:
    """Whether a person wants to hear when an agent's jobs end."""
    return ws.on_done is not None or ws.notifies


def request_notification(job: StoredJob) -> None:
    """Record that the end of a job that an agent began has to be announced."""
    if wants_notification(job.workspace) and job.workspace.roots.is_for_agent:
        job.store.request_notification(job.id)


def notify_end(job: StoredJob, counts: Counts) -> None:
    """Announce the end of a job that an agent began, unless another process has done so."""
    ws = job.workspace
    if not wants_notification(ws) or not job.store.claim_notification(job.id):
        return
    facts = end_variables(job.name, job.status(), counts)
    if ws.on_done is not None:
        start_command(ws.on_done, facts)
    if ws.notifies:
        notify(facts)


def end_variables(job: str, status: str, counts: Counts) -> dict[str, str]:
    """The environment variables that describe a job that has ended.

    If somebody has changed the store, a job may have any name, and cmd would run what is in
    `%BATCH_JOB%`.
    """
    return {
        "BATCH_JOB": _NOT_IN_A_NAME.sub("_", job).lstrip("-.")[:_LONGEST_NAME],
        "BATCH_STATUS": status if status in TERMINAL else "ended",
        "BATCH_ROWS": str(counts.total),
        "BATCH_COMPLETED": str(counts.completed),
        "BATCH_FAILED": str(counts.failed),
        "BATCH_SKIPPED": str(counts.skipped or 0),
    }


def run_command(command: str, facts: dict[str, str]) -> int:
    """Run a person's command to its end, with its output on stderr; return its exit code."""
    return subprocess.run(  # noqa: S603  # a person's own line; the facts are in its environment
        _by_shell(command),
        env=_environment(facts),
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,
        check=False,
    ).returncode


def start_command(command: str, facts: dict[str, str]) -> None:
    """Start a person's command in the home folder and do not wait for it."""
    _start(_by_shell(command), facts)


def _by_shell(command: str) -> str | list[str]:
    """A person's command line, unchanged, for the system's shell."""
    if os.name == "nt":
        return f'"{os.environ.get("COMSPEC", "cmd.exe")}" /d /s /c "{command}"'
    return ["/bin/sh", "-c", command]


def notify(facts: dict[str, str]) -> None:
    """Show a desktop notification, if the system has a program for that."""
    words = (
        f"Job {facts['BATCH_JOB']} is {facts['BATCH_STATUS']}: {facts['BATCH_COMPLETED']} of "
        f"{facts['BATCH_ROWS']} rows answered, {facts['BATCH_FAILED']} failed."
    )
    told = {**facts, "BATCH_TITLE": _TITLE, "BATCH_WORDS": words}
    found = _notifier(words)
    if found is None:
        _log.warning("No program that shows notifications was found here")
        return
    _start(found, told)


def _notifier(words: str) -> list[str] | None:
    """The command line that shows a notification on this system; None if there is none."""
    if _SYSTEM == "mac":
        name = "osascript"
        arguments = [word for line in _MAC for word in ("-e", line)] + [_TITLE, words]
    elif _SYSTEM == "windows":
        name, arguments = "powershell", ["-NoProfile", "-NonInteractive", "-Command", _WINDOWS]
    else:
        name, arguments = "notify-send", ["--", _TITLE, words]
    program = program_in_path(name)
    return None if program is None else [program, *arguments]


def _start(command: str | list[str], facts: dict[str, str]) -> None:
    try:
        child = subprocess.Popen(  # noqa: S603  # see run_command
            command,
            env=_environment(facts),
            cwd=Path.home(),  # never a folder that others may write to
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **detached(),
        )
    except (OSError, RuntimeError) as error:
        _log.warning("The end of a job could not be announced: %s", error)
        return
    threading.Thread(target=child.wait, daemon=True).start()


def _environment(facts: dict[str, str]) -> dict[str, str]:
    # Without it cmd looks for programs in the working directory first.
    return {**environment_without_keys(), "NoDefaultCurrentDirectoryInExePath": "1", **facts}
