"""`webhook`: hear from the provider that a batch has ended."""

from typing import Annotated

import typer

from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.show import lines
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.workspace import configured, roots_of
from doubleword_batch.errors import ConfigError


def webhook(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")
    ] = 8087,
) -> int:
    """Take the provider's webhooks on 127.0.0.1, behind a tunnel of yours, until Ctrl-C.

    A signed message that a batch has ended has its job looked at, and its end told, at once. The
    secret comes from DOUBLEWORD_BATCH_WEBHOOK_SECRET.
    """
    from doubleword_batch.library.jobs import Jobs
    from doubleword_batch.webhook import serve_webhook

    terminal = Terminal()
    settings = configured()
    if settings.webhook_secret is None:
        raise ConfigError(
            "DOUBLEWORD_BATCH_WEBHOOK_SECRET is not set, and nothing unsigned is believed.",
            hint="Register a webhook at the provider, and set the secret that it shows.",
        )

    def announce(address: str) -> None:
        terminal.show(*lines([("webhook", address)]))
        terminal.note("Let your tunnel lead there. Ctrl-C stops it.")

    jobs = Jobs(settings, roots=roots_of(settings))
    serve_webhook(jobs, settings.webhook_secret, port=port, on_ready=announce)
    return Exit.DONE
