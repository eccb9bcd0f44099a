"""The command `proxy`."""

from typing import Annotated

import typer

from doubleword_batch.cli.exits import Exit
from doubleword_batch.cli.show import lines
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.workspace import configured


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

    Key and address of the provider come from DOUBLEWORD_API_KEY and DOUBLEWORD_BASE_URL, else from
    OPENAI_API_KEY and OPENAI_BASE_URL; with none of them the local server answers. If
    DOUBLEWORD_BATCH_PROXY_KEY is set, programs must send it as their key. No key is taken on the
    command line, where other users of the machine could read it.
    """
    from doubleword_batch.batch_openai.options import Plan
    from doubleword_batch.batch_openai.proxy import serve_proxy
    from doubleword_batch.batch_openai.settings import drop_in_settings

    terminal = Terminal()
    plan = Plan(
        batch_size=batch_size,
        batch_window_seconds=batch_window,
        poll_interval_seconds=poll_interval,
        completion_window=window,
        remember_answers=remember,
    )

    settings = configured(drop_in_settings)
    key = settings.proxy_key.reveal() if settings.proxy_key else None

    def announce(base_url: str) -> None:
        terminal.show(*lines([("proxy", base_url), ("provider", settings.provider)]))
        needed = "the key of DOUBLEWORD_BATCH_PROXY_KEY" if key else "any key"
        terminal.note(f"Give programs this base URL and {needed}. Ctrl-C ends it.")

    serve_proxy(settings, port=port, plan=plan, key=key, on_ready=announce)
    return Exit.DONE
