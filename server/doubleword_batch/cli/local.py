"""`local`: the local batch server in the foreground, and `local pull`: its demo model."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from doubleword_batch.cli import options
from doubleword_batch.cli.exits import Exit, interrupted
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.show import lines
from doubleword_batch.cli.terminal import Terminal, plain
from doubleword_batch.cli.workspace import configured
from doubleword_batch.session import local_config
from doubleword_batch.settings import Settings, check_base_url

if TYPE_CHECKING:
    from doubleword_batch.local import RunningServer

local_app = typer.Typer(no_args_is_help=False)


@local_app.callback(invoke_without_command=True)
def local(
    ctx: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free port.")] = 0,
    executor: Annotated[
        Literal["builtin", "simulate", "upstream"] | None,
        typer.Option(help="What answers: the demo model, a simulator, or another server."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="OpenAI-compatible server that answers, such as Ollama's, with /v1."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A GGUF file instead of the demo model.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="A JSON file of what is to go wrong on purpose.")
    ] = None,
    show_token: Annotated[
        bool, typer.Option("--show-token", help="Print the token, not where it lies.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Run the local batch server until Ctrl-C; other commands and MCP servers then use it.

    Its key, where the server behind --url wants one, is DOUBLEWORD_BATCH_LOCAL_KEY.
    """
    if ctx.invoked_subcommand is not None:
        return Exit.DONE
    from doubleword_batch.local import Faults, serve

    terminal = Terminal(as_json=as_json)
    settings = _chosen(configured(), executor, url, model)
    config = replace(
        local_config(settings),
        port=port,
        faults=None if faults is None else Faults.load(faults),
    )
    serve(config, lambda server: _announce(terminal, settings, server, show_token=show_token))
    return Exit.DONE


@local_app.command()
def pull(*, as_json: options.AsJson = False) -> int:
    """Fetch the small demo model once (about 94 MB); nothing of it is installed."""
    from doubleword_batch.local.model_download import pull as pull_model

    terminal = Terminal(as_json=as_json)
    home = configured().home
    try:
        with progress_on(terminal.notes) as tell:
            files = pull_model(home, lambda name, done, all_: tell(done, all_, f"bytes of {name}"))
    except KeyboardInterrupt:
        raise interrupted("Stopped; nothing was changed.") from None
    if as_json:
        terminal.json({"files": [str(path) for path in files]})
    else:
        terminal.show(*lines([("model", path) for path in files]))
    return Exit.DONE


def _chosen(
    settings: Settings,
    executor: Literal["builtin", "simulate", "upstream"] | None,
    url: str | None,
    model: Path | None,
) -> Settings:
    """The settings with the options over them; an address or a model file says what answers."""
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
        told = {
            "base_url": server.base_url,
            "token_file": str(token_file),
            "executor": server.executor,
            "note": server.note,
            "pid": server.pid,
        }
        terminal.json(told | ({"token": server.token} if show_token else {}))
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
    key = server.token if show_token else token_file
    for line in _environment(server.base_url, key):
        terminal.show(Text(plain(line)))
    terminal.note("doubleword-batch finds it by itself. Ctrl-C ends it; its work can be resumed.")


def _environment(base_url: str, key: str | Path) -> tuple[str, str]:
    """What to paste into a shell; a path stands for the file that holds the key."""
    if os.name == "nt":
        value = f"(Get-Content '{key}')" if isinstance(key, Path) else f"'{key}'"
        return f"$env:OPENAI_BASE_URL = '{base_url}'", f"$env:OPENAI_API_KEY = {value}"
    value = f'"$(cat {shlex.quote(str(key))})"' if isinstance(key, Path) else key
    return f"export OPENAI_BASE_URL={base_url}", f"export OPENAI_API_KEY={value}"
