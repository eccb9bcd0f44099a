"""The command `doctor`."""

from collections.abc import Iterator
from typing import Any

import anyio
from rich.text import Text

from doubleword_batch.cli import options
from doubleword_batch.cli.exits import Exit
from doubleword_batch.cli.next_command import command_for
from doubleword_batch.cli.terminal import Terminal, plain
from doubleword_batch.cli.workspace import configured
from doubleword_batch.doctor import Finding, examine

_MARKS = {"ok": "ok", "note": "-", "wrong": "WRONG"}


def _lines(finding: Finding) -> Iterator[Text]:
    mark = Text(f"{_MARKS[finding.state]:<6}", "bold red" if finding.state == "wrong" else "bold")
    yield mark + Text(f"{finding.subject:<11}{plain(finding.found)}")
    if finding.remedy:
        yield Text(f"{'':<17}{plain(finding.remedy)}", "dim")
    if finding.next:
        yield Text(f"{'':<17}{plain(command_for(finding.next))}", "dim")


def _fields(finding: Finding) -> dict[str, Any]:
    next_command = {"next": command_for(finding.next)} if finding.next else {}
    return finding.model_dump(exclude={"next"}) | next_command


def doctor(*, as_json: options.AsJson = False) -> int:
    """Check what is set up here, what answers, and what to do about anything that is wrong."""
    terminal = Terminal(as_json=as_json)
    findings = anyio.run(examine, configured())
    if as_json:
        terminal.json({"findings": [_fields(finding) for finding in findings]})
    else:
        terminal.show(*(line for finding in findings for line in _lines(finding)))
    return Exit.CONFIG if any(finding.state == "wrong" for finding in findings) else Exit.DONE
