"""Checks what is set up here and whether the provider answers, and says how to fix faults.

`examine` changes nothing of the user's; findings never contain a key.
"""

import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urljoin

from anyio import to_thread

from doubleword_batch.errors import (
    AuthError,
    ConfigError,
    DoublewordBatchError,
    Next,
    ProtocolError,
)
from doubleword_batch.extra_packages import install_line, no_wheel
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import Workspace

State = Literal["ok", "note", "wrong"]

_SERVER = "doubleword-batch"
_MOST_CONFIG_BYTES = 4_000_000
_MAX_RETRY_SECONDS = 3.0
_PARTS_NAMED = 3
_MANY_BYTES = 1_000_000_000
_TIGHT = 0.8
"""From this share of the limit on, the user is told."""
_JOBS_LOOKED_AT, _JOBS_NAMED = 50, 5
_CONTROL_LAYER_PATH = "/ai/v1"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked.
        state: ok; note for what may be intended; wrong for what prevents work.
        found: what is there.
        remedy: what to do; "" if nothing is to be done.
        next: the call that helps; None if no call does.
    """

    subject: str
    state: State
    found: str
    remedy: str = ""
    next: Next | None = None


async def examine(settings: Settings) -> list[Finding]:
    """Check everything, in the order in which it would fail."""
    return [
        *_configuration(settings),
        state_directory(settings.home),
        *await _provider(settings),
        _local_model(settings),
        _command(),
        _hosts(Path.home()),
    ]


def _configuration(settings: Settings) -> Iterator[Finding]:
    at = f" at {settings.base_url}" if settings.base_url else ", a server on this machine"
    key = "a key is set (it is never shown)" if settings.api_key else "no key is set"
    yield Finding("provider", "ok", f"{settings.provider}{at}; {key}")
    if not settings.roots:
        yield Finding(
            "roots",
            "wrong",
            "none: the working directory contains the home folder, belongs to the system or no "
            "longer exists",
            "List the folders that agents may use in DOUBLEWORD_BATCH_ROOTS.",
        )
    else:
        remedy = "Agents may use the working directory only; list others in DOUBLEWORD_BATCH_ROOTS."
        state, remedy = ("ok", "") if settings.roots_are_explicit else ("note", remedy)
        yield Finding("roots", state, ", ".join(map(str, settings.roots)), remedy)
    caps = (("a job", settings.max_cost_usd), ("a day", settings.max_daily_usd))
    named = [f"${cap} {what}" for what, cap in caps if cap is not None]
    capped = bool(named) or settings.api_key is None
    asked = settings.ask_above_usd
    yield Finding(
        "spending",
        "ok" if capped else "note",
        ("caps: " + ", ".join(named) if named else "no cap")
        + ("" if asked is None else f"; a person must approve jobs above ${asked}")
        + ("; read-only" if settings.read_only else ""),
        "" if capped else "Set DOUBLEWORD_BATCH_MAX_COST_USD: no agent can raise it.",
    )


def state_directory(home: Path) -> Finding:
    """Whether only its owner can open the state directory, as far as this system can tell."""
    from doubleword_batch.private_home import check_place, check_private

    try:
        check_place(home)
        if not home.exists():
            return Finding("state", "ok", f"{home} will be created when needed")
        check_private(home, home / "store.sqlite3")
    except ConfigError as error:
        return Finding("state", "wrong", error.message, error.hint)
    except OSError as error:
        found = f"{home} cannot be read: {error.strerror or error}."
        return Finding("state", "wrong", found, "Set DOUBLEWORD_BATCH_HOME to another folder.")
    if sys.platform != "win32":
        return Finding("state", "ok", f"{home}, open to its owner only")
    if Path.home() in home.absolute().parents:
        found = f"{home}, in your profile, which Windows opens only to you and administrators"
        return Finding("state", "ok", found)
    return Finding(
        "state",
        "note",
        f"{home}, outside your profile; who can open it was not checked",
        "See the Security tab of its properties, or unset DOUBLEWORD_BATCH_HOME.",
    )


async def _provider(settings: Settings) -> list[Finding]:
    try:
        async with Jobs(settings, max_retry_seconds=_MAX_RETRY_SECONDS) as jobs:
            ws = await jobs.workspace()
            return [_store(ws), await to_thread.run_sync(_disk, ws), *await _answers(ws)]
    except DoublewordBatchError as error:
        return [_wrong("answers", error)]


def _store(ws: "Workspace") -> Finding:
    verdict = str(ws.store.query("PRAGMA quick_check(1)")[0][0])
    jobs = len(ws.store.jobs(limit=1_000))
    if verdict == "ok":
        return Finding("store", "ok", f"sound, {jobs} jobs")
    return Finding(
        "store",
        "wrong",
        "the store is damaged",
        f"Move {ws.store.home / 'store.sqlite3'} away; batches stay at the provider and can be "
        "adopted by their ids.",
    )


def _disk(ws: "Workspace") -> Finding:
    """What the state directory contains, how large it is, and what can be deleted."""
    from doubleword_batch.jobs.disk_quota import format_size, free_bytes, size_on_disk

    home = ws.store.home
    parts, jobs = (
        sorted(((size_on_disk(path), path.name) for path in folder.iterdir()), reverse=True)
        for folder in (home, home / "jobs")
    )
    taken = sum(size for size, _ in parts)
    most, free = ws.max_state_bytes, free_bytes(home)
    is_tight = (most is not None and taken > most * _TIGHT) or (free is not None and free < 0)
    is_large = is_tight or sum(size for size, _ in jobs) > _MANY_BYTES
    named, largest = (
        ", ".join(f"{name} {format_size(size)}" for size, name in found[:_PARTS_NAMED] if size)
        for found in (parts, jobs)
    )
    bound = "" if most is None else f" of at most {format_size(most)}"
    found = f"{format_size(taken)}{bound} in {home} ({named})"
    if largest:
        found += f"; the largest of {len(jobs)} jobs: {largest}"
    remedy = _what_may_go(ws, [name for _, name in jobs[:_JOBS_LOOKED_AT]]) if is_large else ""
    return Finding("disk", "note" if is_tight else "ok", found, remedy)


def _what_may_go(ws: "Workspace", largest: list[str]) -> str:
    """The command that deletes the largest jobs whose deletion loses nothing."""
    from doubleword_batch.jobs.delete import would_be_lost
    from doubleword_batch.jobs.job import StoredJob

    records = [record for name in largest if (record := ws.store.job_named(name)) is not None]
    whole = [r.name for r in records if would_be_lost(StoredJob.of_record(ws, r)) is None]
    if not whole:
        return "doubleword-batch delete JOB removes a job that is no longer needed."
    return f"This loses no answer: doubleword-batch delete {' '.join(whole[:_JOBS_NAMED])}"


async def _answers(ws: "Workspace") -> list[Finding]:
    began = time.perf_counter()
    try:
        models = await ws.client.models.list()
    except DoublewordBatchError as error:
        found = _wrong("answers", error)
        elsewhere = await _api_beside_the_page(ws) if isinstance(error, ProtocolError) else None
        if elsewhere:
            remedy = f"The API of this server is at {elsewhere}: set DOUBLEWORD_BASE_URL to it."
            return [replace(found, remedy=remedy, next=None)]
        return [found]
    taken = (time.perf_counter() - began) * 1000
    answers = Finding("answers", "ok", f"{ws.provider}: {len(models)} models in {taken:.0f} ms")
    try:
        async for _ in ws.client.batches.list(page_size=1):
            break
    except DoublewordBatchError as error:
        return [answers, _wrong("batches", error)]
    return [answers, Finding("batches", "ok", "they can be listed")]


async def _api_beside_the_page(ws: "Workspace") -> str | None:
    """The API's address if the base URL gave the web page of a self-hosted control layer.

    That server shows its dashboard for every path but `/ai/v1`. Looking does not send the key.
    """
    from doubleword_batch.api.client import BatchClient

    elsewhere = urljoin(ws.client.base_url, _CONTROL_LAYER_PATH)
    try:
        async with BatchClient(
            base_url=elsewhere, max_retry_seconds=0, timeout_seconds=5
        ) as client:
            await client.models.list()
    except AuthError:
        return elsewhere
    except DoublewordBatchError:
        return None
    return elsewhere


def _local_model(settings: Settings) -> Finding:
    from doubleword_batch.local.executors.factory import missing_packages
    from doubleword_batch.local.model_download import model_files

    there = settings.local_model or model_files(settings.home)
    runtime = missing_packages()
    if there and not runtime:
        return Finding("demo model", "ok", "installed, with its runtime")
    missing = [
        *([f"its runtime: {no_wheel(*runtime) or install_line(*runtime)}"] if runtime else []),
        *([] if there else ["its file: doubleword-batch local pull"]),
    ]
    return Finding(
        "demo model",
        "note",
        "not set up",
        "Only needed without a key and without DOUBLEWORD_BATCH_LOCAL_URL. Missing: "
        f"{'; '.join(missing)}",
    )


def _command() -> Finding:
    """Desktop hosts start their servers without the PATH of a shell."""
    beside = shutil.which(_SERVER, path=sysconfig.get_path("scripts"))
    program = beside or shutil.which(_SERVER)
    command = str(Path(program).absolute()) if program else f"{sys.executable} -m doubleword_batch"
    found = f"{command}: the absolute path, for hosts that do not know the PATH of your shell"
    return Finding("command", "ok", found)


def host_files(home: Path, platform: str = sys.platform) -> dict[str, tuple[Path, ...]]:
    """The settings files of each host, for a user whose home folder is `home`."""
    support = {
        "darwin": home / "Library/Application Support",
        "win32": home / "AppData/Roaming",
    }.get(platform, home / ".config")
    # The Microsoft Store version sees its own folder in place of AppData/Roaming.
    packages = home / "AppData/Local/Packages"
    of_store = packages.glob("Claude_*/LocalCache/Roaming") if platform == "win32" else ()
    opencode = home / ".config/opencode"
    return {
        "Claude Code": (home / ".claude.json",),
        "Claude Desktop": tuple(
            folder / "Claude/claude_desktop_config.json" for folder in (*of_store, support)
        ),
        "Codex": (home / ".codex/config.toml",),
        "Cursor": (home / ".cursor/mcp.json",),
        "Gemini CLI": (home / ".gemini/settings.json",),
        "opencode": (opencode / "opencode.json", opencode / "opencode.jsonc"),
        "VS Code": (support / "Code/User/mcp.json",),
        "Windsurf": (home / ".codeium/windsurf/mcp_config.json",),
    }


def _hosts(home: Path) -> Finding:
    known = {
        name: there
        for name, places in host_files(home).items()
        if (there := [path for path in places if path.is_file()])
    }
    named = [name for name, there in known.items() if any(map(_mentions_server, there))]
    if named:
        return Finding("hosts", "ok", f"set up in {', '.join(named)}")
    seen = f"not in {', '.join(known)}" if known else "no host's settings found"
    return Finding("hosts", "note", seen, "The project's docs/hosts.md has the line for each host.")


def _mentions_server(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as text:
            return _SERVER in text.read(_MOST_CONFIG_BYTES)
    except OSError:
        return False


def _wrong(subject: str, error: DoublewordBatchError) -> Finding:
    return Finding(subject, "wrong", error.message, error.hint, error.next)
