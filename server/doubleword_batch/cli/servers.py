"""Servers in the foreground: `local` (and its `pull`), `proxy`, `webhook` and `console`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from doubleword_batch.cli import options
from doubleword_batch.cli.app import PLAIN, Group
from doubleword_batch.cli.exit_codes import Exit, interrupted
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.startup import configured, roots_of
from doubleword_batch.cli.terminal import Terminal, lines, plain
from doubleword_batch.errors import ConfigError
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.lazy_workspace import local_config
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Settings
from doubleword_batch.shell_words import set_variable, set_variable_from
from doubleword_batch.variables import check_base_url

if TYPE_CHECKING:
    from doubleword_batch.local import RunningServer

PATIENCE_SECONDS = 20.0
"""How long a page waits for a provider that does not answer: a person is waiting."""

local_app = typer.Typer(cls=Group, no_args_is_help=False, **PLAIN)


@local_app.callback(invoke_without_command=True)
def local(
    ctx: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 0,
    executor: Annotated[
        Literal["builtin", "simulate", "upstream"] | None,
        typer.Option(help="What answers: the demo model, a simulator or another server."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="OpenAI-compatible server that answers, such as Ollama's, with /v1."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A GGUF file instead of the demo model.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="The only models to offer, separated by commas; others are refused."),
    ] = None,
    dialect: Annotated[
        Literal["doubleword", "openai"],
        typer.Option(help="Which server's API to speak where the two differ."),
    ] = "doubleword",
    faults: Annotated[Path | None, typer.Option(help="A JSON file of faults to inject.")] = None,
    show_token: Annotated[
        bool, typer.Option("--show-token", help="Print the token instead of its file.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Run the local batch server until Ctrl-C; other commands and MCP servers then use it.

    If the server at --url needs a key, set DOUBLEWORD_BATCH_LOCAL_KEY.
    """
    if ctx.invoked_subcommand is not None:
        return Exit.DONE
    from doubleword_batch.local import Faults, serve

    terminal = Terminal(as_json=as_json)
    settings = _chosen(configured(), executor, url, model)
    config = replace(
        local_config(settings),
        port=port,
        models=_names(models),
        dialect=dialect,
        faults=None if faults is None else Faults.load(faults),
    )
    serve(config, lambda server: _announce(terminal, settings, server, show_token=show_token))
    return Exit.DONE


@local_app.command()
def pull(*, as_json: options.AsJson = False) -> int:
    """Download the small demo model (about 94 MB), once; no package is installed."""
    from doubleword_batch.local.model_download import pull as pull_model

    terminal = Terminal(as_json=as_json)
    home = configured().home
    try:
        with progress_on(terminal.notes) as tell:
            files = pull_model(
                home, lambda name, done, total: tell(done, total, f"bytes of {name}")
            )
    except KeyboardInterrupt:
        raise interrupted("Stopped; nothing was changed.") from None
    if as_json:
        terminal.json({"files": [str(path) for path in files]})
    else:
        terminal.show(*lines([("model", path) for path in files]))
    return Exit.DONE


def proxy(
    *,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for any free one.")] = 8089,
    window: Annotated[
        str, typer.Option(help="Completion window; async sends each call alone, without a batch.")
    ] = "24h",
    batch_size: Annotated[int, typer.Option(help="Maximum calls in one batch.")] = 1_000,
    batch_window: Annotated[
        float, typer.Option(help="Seconds that the first call of a batch waits for more.")
    ] = 10.0,
    poll_interval: Annotated[
        float, typer.Option(help="Seconds between two polls of a running batch.")
    ] = 5.0,
    remember: Annotated[
        bool, typer.Option(help="Answer a repeated call with what an earlier run paid for.")
    ] = True,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="Accept calls from every program here, without a key.")
    ] = False,
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Only print the key that programs need.")
    ] = False,
) -> int:
    """Answer OpenAI calls of programs in any language at batch prices, until Ctrl-C.

    A program needs the base URL and the key, which is created and shown at the first start and kept
    in a file. Calls are collected into batches, and each call waits for its own answer: set the
    client's timeout to hours.

    The provider's key and address come from DOUBLEWORD_API_KEY and DOUBLEWORD_BASE_URL, or from
    OPENAI_API_KEY and OPENAI_BASE_URL; without them the local server answers.
    DOUBLEWORD_BATCH_PROXY_KEY replaces the generated key. No key is accepted on the command line,
    where other users of the machine could read it.
    """
    from doubleword_batch.batch_openai.batcher import BatchingOptions
    from doubleword_batch.batch_openai.credentials import resolve_settings
    from doubleword_batch.batch_openai.proxy import serve_proxy

    terminal = Terminal()
    settings = configured(resolve_settings)
    if show_key:
        terminal.show(Text(_proxy_key(settings)[0]))
        return Exit.DONE
    options = BatchingOptions(
        batch_size=batch_size,
        batch_window_seconds=batch_window,
        poll_interval_seconds=poll_interval,
        completion_window=window,
        remember_answers=remember,
    )
    key, shown = (None, "any") if no_key else _proxy_key(settings)

    def announce(base_url: str) -> None:
        terminal.show(
            *lines([("proxy", base_url), ("key", shown), ("provider", settings.provider)])
        )
        terminal.note(
            "Give programs this base URL and key (OPENAI_BASE_URL, OPENAI_API_KEY). Ctrl-C stops "
            "it."
        )

    serve_proxy(settings, port=port, options=options, key=key, on_ready=announce)
    return Exit.DONE


def _names(given: str | None) -> tuple[str, ...] | None:
    """The names in a comma-separated list; None if it has none."""
    return tuple(name.strip() for name in (given or "").split(",") if name.strip()) or None


def _proxy_key(settings: Settings) -> tuple[str, str]:
    """The key that programs must send, and what is shown of it when the proxy starts."""
    if settings.proxy_key is not None:
        return settings.proxy_key.reveal(), "the one in DOUBLEWORD_BATCH_PROXY_KEY"
    from doubleword_batch.private_home import read_or_create_key

    path = settings.home / "proxy" / "key"
    is_new = not path.exists()
    key = read_or_create_key(path)
    if is_new:
        return key, f"{key} (kept in {path})"
    return key, f"in {path}"


def _chosen(
    settings: Settings,
    executor: Literal["builtin", "simulate", "upstream"] | None,
    url: str | None,
    model: Path | None,
) -> Settings:
    """The settings, overridden by the options; an address or a model file decides what answers."""
    if url is not None:
        executor = executor or "upstream"
        settings = replace(settings, local_url=check_base_url("--url", url))
    if model is not None:
        executor = executor or "builtin"
        settings = replace(settings, local_model=model)
    return replace(settings, local_executor=executor or settings.local_executor)


def _announce(
    terminal: Terminal, settings: Settings, server: "RunningServer", *, show_token: bool
) -> None:
    token_file = settings.home / "local" / "token"
    if terminal.as_json:
        fields = {
            "base_url": server.base_url,
            "token_file": str(token_file),
            "executor": server.executor,
            "note": server.note,
            "pid": server.pid,
        }
        terminal.json(fields | ({"token": server.token} if show_token else {}))
        return
    terminal.show(
        *lines(
            [
                ("server", server.base_url),
                ("answers", f"{server.executor}: {server.note}"),
                ("token", server.token if show_token else f"in {token_file}"),
            ]
        )
    )
    terminal.note("For the openai SDK and other clients:")
    key = "OPENAI_API_KEY"
    for line in (
        set_variable("OPENAI_BASE_URL", server.base_url),
        set_variable(key, server.token) if show_token else set_variable_from(key, str(token_file)),
    ):
        terminal.show(Text(plain(line)))
    terminal.note("doubleword-batch finds it by itself. Ctrl-C stops it; its work can be resumed.")


def webhook(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")
    ] = 8087,
) -> int:
    """Receive the provider's webhooks on 127.0.0.1, behind your tunnel, until Ctrl-C.

    When a signed message says that a batch has ended, its job is refreshed and its end reported at
    once. The secret comes from DOUBLEWORD_BATCH_WEBHOOK_SECRET.
    """
    from doubleword_batch.library.jobs import Jobs
    from doubleword_batch.webhook import serve_webhook

    terminal = Terminal()
    settings = configured()
    if settings.webhook_secret is None:
        raise ConfigError(
            "DOUBLEWORD_BATCH_WEBHOOK_SECRET is not set, and unsigned messages are not trusted.",
            hint="Register a webhook at the provider, and set the secret that it shows.",
        )

    def announce(address: str) -> None:
        terminal.show(*lines([("webhook", address)]))
        terminal.note("Point your tunnel at it. Ctrl-C stops it.")

    serve_webhook(Jobs(settings), settings.webhook_secret, port=port, on_ready=announce)
    return Exit.DONE


def console(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one. [default: 8088]"
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show everything, and no buttons.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
    as_json: options.AsJson = False,
) -> int:
    """See, steer and judge jobs in the browser, until Ctrl-C.

    The address that it shows gives one browser access; keep it to yourself.
    """
    from doubleword_batch.console.app import serve_console
    from doubleword_batch.library.jobs import Jobs

    terminal = Terminal(as_json=as_json)
    settings = configured()

    def announce(address: str, note: str) -> None:
        if as_json:
            terminal.json({"address": address, "note": note})
            return
        terminal.show(Text(f"console  {address}"))
        terminal.note(f"{note} Ctrl-C stops it; jobs at the provider go on.".strip())

    serve_console(
        Jobs(settings, roots=console_roots(settings), max_retry_seconds=PATIENCE_SECONDS),
        port=port,
        read_only=read_only,
        open_browser=browser,
        on_ready=announce,
    )
    return Exit.DONE


def console_roots(settings: Settings) -> Roots:
    """Where paths may lead: as for other commands, plus the files that were dropped."""
    return roots_of(settings).with_folder(dropped_files(settings.home))
