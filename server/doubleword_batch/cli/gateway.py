"""The command `proxy`."""

from typing import Annotated

import typer

from doubleword_batch.cli.call import configured
from doubleword_batch.cli.exits import Exit
from doubleword_batch.cli.show import lines
from doubleword_batch.cli.terminal import Terminal


def proxy(
    *,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for any free one.")] = 8089,
    window: Annotated[str, typer.Option(help="Completion window of the batches.")] = "24h",
    batch_size: Annotated[int, typer.Option(help="Calls in one batch, at most.")] = 1_000,
    batch_window: Annotated[
        float, typer.Option(help="Seconds that the first call of a batch waits for others.")
    ] = 10.0,
    poll_interval: Annotated[
        float, typer.Option(help="Seconds between two looks at a running batch.")
    ] = 5.0,
    remember: Annotated[
        bool, typer.Option(help="Give equal calls of an earlier run the answer it paid for.")
    ] = True,
) -> int:
    """Answer OpenAI calls of programs in any language at batch prices, until Ctrl-C.

    A program needs only the base URL that is printed; its calls are gathered into batches, and
    each waits for its own answer: set its timeout to hours.
    """
    from doubleword_batch.drop_in.plan import Plan
    from doubleword_batch.drop_in.proxy import serve_proxy

    terminal = Terminal()
    plan = Plan(
        batch_size=batch_size,
        batch_window_seconds=batch_window,
        poll_interval_seconds=poll_interval,
        completion_window=window,
        remember_answers=remember,
    )

    def announce(base_url: str) -> None:
        terminal.show(*lines([("proxy", base_url)]))
        terminal.note("Give programs this base URL and any key. Ctrl-C ends it.")

    serve_proxy(configured(), port=port, plan=plan, on_ready=announce)
    return Exit.DONE
