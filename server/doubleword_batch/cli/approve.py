"""`approve`: a person approves what costs more than they allow without asking."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.text import Text

from doubleword_batch.cli import options
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.show import show
from doubleword_batch.cli.startup import configured, run_verb
from doubleword_batch.cli.terminal import Terminal, is_at_terminal, person_agrees, plain
from doubleword_batch.errors import InputError
from doubleword_batch.library.approvals import (
    Approval,
    ApprovalError,
    JobApprovals,
    approval_in_words,
)
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.progress import Progress

_T = TypeVar("_T")


def approve(
    job: Annotated[
        str | None, typer.Argument(help="A job's name; leave it out to see what is waiting.")
    ] = None,
    *,
    decline: Annotated[bool, typer.Option("--decline", help="Say no.")] = False,
    code: Annotated[
        str | None,
        typer.Option(help="Without a terminal: the code that `approve JOB` shows at one."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Approve a submission that waits for a person, and submit it.

    It asks at a terminal; it is for people, not for agents.
    """
    terminal = Terminal(as_json=as_json)
    settings = configured()
    if job is None:
        _show_waiting(terminal, run_verb(settings, lambda jobs: JobApprovals(jobs).waiting()))
        return Exit.DONE
    name = job

    async def work(jobs: Jobs) -> None:
        approvals = JobApprovals(jobs)
        question = await approvals.about(name)
        if question is None:
            raise InputError(
                f"Nothing in job {name} is waiting for a person.",
                hint=f"See what is waiting: {PROGRAM} approve",
                code="not_submitted",
            )
        if decline:
            await approvals.decide(question.id, "declined", "terminal")
            terminal.note(f"declined: {approval_in_words(question)}")
            return
        _confirm(terminal, approvals, question, code)
        approved = await approvals.decide(question.id, "approved", "terminal")
        with progress_on(terminal.notes) as tell:
            report = await approvals.perform(approved, progress=tell)
        if report is None:
            terminal.note("Approved; the program that waits will go on.")
        else:
            show(terminal, report)

    run_verb(settings, work)
    return Exit.DONE


def _show_waiting(terminal: Terminal, waiting: list[Approval]) -> None:
    if terminal.as_json:
        lines = [{"job": found.job, "question": approval_in_words(found)} for found in waiting]
        terminal.json({"waiting": lines})
        return
    for found in waiting:
        terminal.show(Text(plain(approval_in_words(found))))
    if waiting:
        terminal.note(f"{PROGRAM} approve JOB asks you, and submits it.")
    else:
        terminal.note("Nothing is waiting for a person.")


def _confirm(
    terminal: Terminal, approvals: JobApprovals, question: Approval, code: str | None
) -> None:
    """Return only if a person approves, here or with a code that a terminal showed."""
    if code is not None:
        if approvals.is_code(code, question):
            return
        raise InputError(
            f"That is not the code for {approval_in_words(question)}.",
            hint=f"A person gets it at a terminal: {PROGRAM} approve {question.job}",
            code="not_confirmed",
        )
    if is_at_terminal():
        terminal.note(f"for scripts: --code {approvals.code(question)}")
    _agree(question)


def _agree(question: Approval) -> None:
    asked = plain(approval_in_words(question))
    if person_agrees(f"Submit {asked}? [y/N] "):
        return
    raise InputError(
        f"A person has not approved {asked}; nothing was submitted.",
        hint="Only a person may approve, at a terminal or in the console. An agent has to ask.",
        code="not_confirmed",
    )


async def with_approval(
    jobs: Jobs, terminal: Terminal, work: Callable[[Progress], Awaitable[_T]]
) -> _T:
    """Do `work`; if it needs a person's approval, ask at the terminal, and do it again.

    Progress is shown while it works, but not while the person types.

    Raises:
        ApprovalError: there is no terminal.
        InputError: `not_confirmed`: the person said no.
    """
    while True:
        try:
            with progress_on(terminal.notes) as tell:
                return await work(tell)
        except ApprovalError as error:
            if not is_at_terminal():
                raise
            _agree(error.approval)
            await JobApprovals(jobs).decide(error.approval.id, "approved", "terminal")
