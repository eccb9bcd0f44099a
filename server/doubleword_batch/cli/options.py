"""The options that several commands share, and how their values are read."""

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doubleword_batch.errors import InputError
from doubleword_batch.saved_text import decode_saved
from doubleword_batch.variables import dollars

if TYPE_CHECKING:
    from doubleword_batch.jobs.build_request import BuildRequest


def usd(text: str) -> Decimal:
    """An amount of US dollars."""
    value = dollars(text)
    if value is None:
        raise typer.BadParameter(f"{text!r} is not an amount in US dollars, such as 2.50.")
    return value


CHAT = "/v1/chat/completions"

_SOURCE = typer.Argument(
    help="Path, folder or glob: CSV, TSV, JSONL, JSON array (also gzip or zstd), Parquet, "
    "BOOK.xlsx::SHEET, SHOP.db::TABLE or SHOP.db::SELECT..., texts, images."
)
Source = Annotated[str, _SOURCE]
OptionalSource = Annotated[str | None, _SOURCE]
Job = Annotated[str, typer.Argument(help="A job's name, or the provider's batch or input file id.")]
_PROMPT = typer.Option(
    "--prompt",
    "-p",
    help="Template of the user's message, such as 'Classify: {{ text }}'; @FILE, or - for stdin.",
)
Prompt = Annotated[str, _PROMPT]
OptionalPrompt = Annotated[str | None, _PROMPT]
System = Annotated[
    str | None, typer.Option("--system", help="Template of the system message, or @FILE.")
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="The model; `list models` shows them.")
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema", help="JSON Schema (a file, or its text): its properties become columns."
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="Set in every request, such as temperature=0; the value may be JSON. Repeatable.",
    ),
]
Endpoint = Annotated[
    str, typer.Option("--endpoint", help="/v1/chat/completions, /v1/responses or /v1/embeddings.")
]
IdColumn = Annotated[
    str | None, typer.Option("--id-column", help="A column that becomes part of each custom_id.")
]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", help="A column with an image's path or https URL in each row."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="The first N rows: a pilot.")]
NewRun = Annotated[
    bool, typer.Option("--new-run", help="Run the same work again instead of reusing its job.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="How rows are read and built, such as on_bad_row=skip or name=march. Repeatable.",
    ),
]
CascadeModel = Annotated[
    str | None,
    typer.Option(
        "--cascade-model",
        metavar="MODEL",
        help="A stronger model for rows that --model is not sure enough about; for labels.",
    ),
]
CascadeTarget = Annotated[
    float | None,
    typer.Option(
        "--cascade-target",
        metavar="SHARE",
        help="Share of the other rows that has to agree with it, 0.5 to 0.99; 0.95 by default.",
    ),
]
FirstWave = Annotated[
    int | None,
    typer.Option(
        "--first-wave",
        metavar="N",
        min=1,
        max=1000,
        help="Send N requests of each common beginning first, to warm the provider's cache.",
    ),
]
Window = Annotated[
    str | None, typer.Option("--window", help="Completion window: 24h (cheapest) or 1h.")
]
MaxCost = Annotated[
    Decimal | None,
    typer.Option(
        "--max-cost", parser=usd, metavar="USD", help="Submit nothing that costs more than this."
    ),
]
_TABLE = "The table to write: .csv, .jsonl or .parquet."
Output = Annotated[str | None, typer.Option("--output", "-o", help=_TABLE)]
Formulas = Annotated[
    bool,
    typer.Option(
        "--formulas",
        help="In CSV, keep text that begins like a formula as it is; a spreadsheet would run it.",
    ),
]
Bom = Annotated[
    bool | None,
    typer.Option(
        "--bom/--no-bom",
        help="Begin a CSV with a byte order mark, for Excel. By default as in the source.",
        show_default=False,
    ),
]
NoLock = Annotated[
    bool, typer.Option("--no-lock", help="Write no lock file (NAME.lock.json) beside the table.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        metavar="SECONDS",
        help="Stop waiting after this time; the batch goes on.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]


def build_request(
    *,
    source: str,
    prompt: str,
    system: str | None,
    model: str | None,
    endpoint: str,
    schema: str | None,
    param: list[str] | None,
    id_column: str | None,
    image_column: str | None,
    limit: int | None,
    new_run: bool,
    option: list[str] | None,
    cascade_model: str | None = None,
    cascade_target: float | None = None,
    first_wave: int | None = None,
    output_path: str | None = None,
    overwrite: bool = False,
    max_cost: Decimal | None = None,
) -> "BuildRequest":
    """The request file that `run` and `create-file` build; the arguments are their options.

    Raises:
        typer.BadParameter: a parameter or an option is not NAME=VALUE, or a target has no model.
    """
    from doubleword_batch.jobs.build_request import BuildRequest

    return BuildRequest(
        source=source,
        prompt=_text_of(prompt),
        system=None if system is None else _text_of(system),
        model=model,
        endpoint=endpoint,
        response_schema=schema,
        params=params_of(param),
        id_column=id_column,
        image_column=image_column,
        limit=limit,
        new_run=new_run,
        options=params_of(option, "--option")
        | _cascade(cascade_model, cascade_target)
        | ({} if first_wave is None else {"first_wave": first_wave}),
        output_path=output_path,
        overwrite=overwrite,
        is_capped=max_cost is not None,
    )


def _cascade(model: str | None, target: float | None) -> dict[str, Any]:
    if model is None:
        if target is not None:
            raise typer.BadParameter("it needs --cascade-model too", param_hint="--cascade-target")
        return {}
    return {"cascade": {"model": model} | ({} if target is None else {"target": target})}


def params_of(given: list[str] | None, option: str = "--param") -> dict[str, Any]:
    """`NAME=VALUE` pairs as an object; a value that is not JSON is text."""
    from doubleword_batch.loose_json import value_or_text

    params: dict[str, Any] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint=option)
        params[name] = value_or_text(value)
    return params


def _text_of(given: str) -> str:
    """A template as given, or from stdin for `-`; `@FILE` is read when the job is built.

    Raises:
        InputError: code `not_readable`: the piped input is not UTF-8.
    """
    if given != "-":
        return given
    text = _text_of_stdin()
    return f"@{text}" if text.startswith("@") else text


def _text_of_stdin() -> str:
    """The piped input, as UTF-8 whatever the system's own encoding is."""
    if sys.stdin.isatty():
        return sys.stdin.read()
    try:
        return decode_saved(sys.stdin.buffer.read()).removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The piped input is not UTF-8 text: {error}.",
            hint="Give @FILE, or set the shell's encoding to UTF-8.",
            code="not_readable",
        ) from None
