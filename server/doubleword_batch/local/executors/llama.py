"""A chat model in this process, run by llama.cpp: grammar-bound answers, stoppable at any token.

The library's calls block, so they belong on threads; it takes as many at once as it has slots.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import msgspec

from doubleword_batch.local.executors.base import RequestFailed
from doubleword_batch.local.json_types import rejected
from doubleword_batch.local.response_bodies import Finish, Reply, ToolCall, Usage

_SILENT = -1
_LOUD = 3
_MOST_THREADS = 8


class Stopped(Exception):  # noqa: N818  # what was asked for, not an error
    """The generation was given up because nobody waits for it any longer."""


class Llama:
    """One loaded model.

    Args:
        path: a GGUF file.
        slots: how many requests run at once.
        context_tokens: prompt and answer of one request together.
        verbose: let llama.cpp log to stderr.

    Raises:
        RequestFailed: the file cannot be loaded.
    """

    def __init__(
        self, path: Path, *, slots: int, context_tokens: int, verbose: bool = False
    ) -> None:
        import xllamacpp  # pyright: ignore[reportMissingTypeStubs]  # it has none

        library: Any = xllamacpp
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = slots * context_tokens
        params.verbosity = _LOUD if verbose else _SILENT
        params.warmup = False
        params.cache_ram_mib = 0  # by default up to 8 GB of finished prompts would be kept
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        # The library also opens a port on 127.0.0.1, for any web page to ask. Nobody knows its key.
        params.api_keys = [token_urlsafe(32)]
        params.cors_origins = ""
        params.endpoint_slots = False
        params.endpoint_props = False
        params.ui = False
        try:
            self._server = library.Server(params)
        except RuntimeError:
            raise RequestFailed(
                "NonRetriableHttpStatus",
                f"the model file {path.name} cannot be loaded: it is broken, or no GGUF file that "
                "llama.cpp reads, or there is too little memory",
                status=500,
            ) from None

    def chat(
        self, body: dict[str, Any], is_stopped: Callable[[], bool]
    ) -> tuple[list[Reply], Usage]:
        """Answer a chat/completions body: one reply a choice.

        Raises:
            RequestFailed: llama.cpp cannot take the body, or failed.
            Stopped: `is_stopped` said so.
        """
        return self._generate(self._server.handle_chat_completions, body, is_stopped)

    def complete(
        self, body: dict[str, Any], is_stopped: Callable[[], bool]
    ) -> tuple[list[Reply], Usage]:
        """Continue a completions body's one prompt; else as `chat`."""
        return self._generate(self._server.handle_completions, body, is_stopped)

    def _generate(
        self,
        answer: Callable[[dict[str, Any], Callable[[Any], bool]], object],
        body: dict[str, Any],
        is_stopped: Callable[[], bool],
    ) -> tuple[list[Reply], Usage]:
        # Streamed, because between two pieces is the only moment at which it can be stopped.
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        gathered = _Gathered()

        def take(piece: dict[str, Any]) -> bool:
            gathered.add(msgspec.convert(piece, _Piece))
            return is_stopped()

        try:
            answer(body | streamed, take)
        except (ValueError, RuntimeError) as error:
            # What the library raises instead of answering is about the body: a broken schema,
            # an image for a model that sees none.
            raise rejected(str(error)) from None
        if is_stopped():
            raise Stopped
        return gathered.replies()


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPiece(msgspec.Struct):
    index: int = 0
    function: _Function = msgspec.field(default_factory=_Function)


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _ChoicePiece(msgspec.Struct):
    """A piece of one choice: `delta` of a chat, `text` of a completion."""

    index: int
    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: str | None = None
    finish_reason: Finish | None = None


class _Error(msgspec.Struct):
    code: int = 500
    type: str = ""
    message: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Piece(msgspec.Struct):
    """What llama.cpp hands over at a time."""

    choices: list[_ChoicePiece] = msgspec.field(default_factory=list[_ChoicePiece])
    usage: Usage | None = None
    error: _Error | None = None


def _threads() -> int:
    """One core fewer than there are.

    llama.cpp's threads wait for one another at every layer. With one on each core, a core that is
    busy elsewhere holds all of them up: measured on two busy cores, one thread was three times as
    fast as two. Beyond eight, a model this small gains nothing.
    """
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 2) - 1))


@dataclass(slots=True)
class _Choice:
    """What has come of one choice so far."""

    text: str = ""
    names: dict[int, str] = field(default_factory=dict[int, str])
    arguments: dict[int, str] = field(default_factory=dict[int, str])
    finish: Finish = "stop"

    def add(self, piece: _ChoicePiece) -> None:
        self.text += piece.text or piece.delta.content or ""
        for call in piece.delta.tool_calls or ():
            self.names.setdefault(call.index, call.function.name or "")
            written = self.arguments.get(call.index, "")
            self.arguments[call.index] = written + (call.function.arguments or "")
        self.finish = piece.finish_reason or self.finish

    def reply(self) -> Reply:
        calls = tuple(ToolCall(name, self.arguments[i]) for i, name in self.names.items())
        return Reply(self.text if self.text or not calls else None, self.finish, calls)


@dataclass(slots=True)
class _Gathered:
    """A streamed answer, put together from its pieces."""

    choices: dict[int, _Choice] = field(default_factory=dict[int, _Choice])
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    error: _Error | None = None

    def add(self, piece: _Piece) -> None:
        self.error = piece.error or self.error
        self.usage = piece.usage or self.usage
        for choice in piece.choices:
            self.choices.setdefault(choice.index, _Choice()).add(choice)

    def replies(self) -> tuple[list[Reply], Usage]:
        if self.error is not None:
            raise _failure(self.error)
        if not self.choices:
            raise RequestFailed("NetworkError", "the model gave no answer")
        return [self.choices[index].reply() for index in sorted(self.choices)], self.usage


def _failure(error: _Error) -> RequestFailed:
    if error.type == "exceed_context_size_error":
        return rejected(
            f"The prompt has {error.n_prompt_tokens} tokens; this model takes {error.n_ctx}, "
            "prompt and answer together. Shorten the prompt, or use another model or server.",
            param="messages",
        )
    if error.code < 500:  # noqa: PLR2004  # the body's fault
        return rejected(error.message, status=error.code)
    return RequestFailed("RetriableHttpStatus", error.message, status=error.code)
