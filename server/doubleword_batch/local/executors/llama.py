"""A chat model in this process, run by llama.cpp: answers bound by a grammar, stoppable anytime.

The library's calls block, so they belong in threads; it runs as many at once as it has slots.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import msgspec

from doubleword_batch.local.executors.base import RequestFailed, TokenUsage, rejected
from doubleword_batch.local.response_bodies import Finish, ResponseChoice, ToolCall

_SILENT = -1
_MOST_THREADS = 8


class Stopped(Exception):  # noqa: N818  # requested, not an error
    """The generation was stopped because nobody waits for it any longer."""


class Llama:
    """One loaded model.

    Args:
        path: a GGUF file.
        slots: how many requests run at once.
        context_tokens: prompt and answer of one request together.

    Raises:
        RequestFailed: the file cannot be loaded.
    """

    def __init__(self, path: Path, *, slots: int, context_tokens: int) -> None:
        import xllamacpp  # pyright: ignore[reportMissingTypeStubs]  # it has none

        library: Any = xllamacpp
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = slots * context_tokens
        params.verbosity = _SILENT
        params.warmup = False
        params.cache_ram_mib = 0  # by default up to 8 GB of finished prompts would be kept
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        # The library also opens a port on 127.0.0.1 that any web page could call. Nobody knows its
        # key.
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
                f"the model file {path.name} cannot be loaded: it is broken, or not a GGUF file "
                "that llama.cpp reads, or there is too little memory",
                status=500,
            ) from None

    def chat(
        self, body: dict[str, Any], is_stopped: Callable[[], bool]
    ) -> tuple[list[ResponseChoice], TokenUsage]:
        """Answer a chat/completions body.

        Raises:
            RequestFailed: llama.cpp cannot handle the body, or failed.
            Stopped: `is_stopped` returned True.
        """
        # Streamed, because it can only be stopped between two pieces.
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        answer = _PartialAnswer()

        def take(piece: dict[str, Any]) -> bool:
            answer.add(msgspec.convert(piece, _Piece))
            return is_stopped()

        try:
            self._server.handle_chat_completions(body | streamed, take)
        except (ValueError, RuntimeError) as error:
            # If the library raises instead of answering, the body is at fault: a broken schema, or
            # an image for a model that cannot see.
            raise rejected(str(error)) from None
        if is_stopped():
            raise Stopped
        return answer.whole()


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
    index: int
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: Finish | None = None


class _Error(msgspec.Struct):
    code: int = 500
    type: str = ""
    message: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Piece(msgspec.Struct):
    """What llama.cpp returns at a time."""

    choices: list[_ChoicePiece] = msgspec.field(default_factory=list[_ChoicePiece])
    usage: TokenUsage | None = None
    error: _Error | None = None


def _threads() -> int:
    """One core fewer than the machine has.

    llama.cpp's threads wait for one another at every layer. With one thread per core, a core that
    is busy elsewhere holds up all of them: measured on two busy cores, one thread was three times
    as fast as two. More than eight do not help a model this small.
    """
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 2) - 1))


@dataclass(slots=True)
class _PartialChoice:
    """One choice, as far as it has been generated."""

    text: str = ""
    names: dict[int, str] = field(default_factory=dict[int, str])
    arguments: dict[int, str] = field(default_factory=dict[int, str])
    finish: Finish = "stop"

    def add(self, piece: _ChoicePiece) -> None:
        self.text += piece.delta.content or ""
        for call in piece.delta.tool_calls or ():
            self.names.setdefault(call.index, call.function.name or "")
            written = self.arguments.get(call.index, "")
            self.arguments[call.index] = written + (call.function.arguments or "")
        self.finish = piece.finish_reason or self.finish

    def choice(self) -> ResponseChoice:
        calls = tuple(ToolCall(name, self.arguments[i]) for i, name in self.names.items())
        return ResponseChoice(self.text if self.text or not calls else None, self.finish, calls)


@dataclass(slots=True)
class _PartialAnswer:
    """A streamed answer, assembled from its pieces."""

    choices: dict[int, _PartialChoice] = field(default_factory=dict[int, _PartialChoice])
    usage: TokenUsage = field(default_factory=TokenUsage)
    error: _Error | None = None

    def add(self, piece: _Piece) -> None:
        self.error = piece.error or self.error
        self.usage = piece.usage or self.usage
        for choice in piece.choices:
            self.choices.setdefault(choice.index, _PartialChoice()).add(choice)

    def whole(self) -> tuple[list[ResponseChoice], TokenUsage]:
        if self.error is not None:
            raise _failure(self.error)
        if not self.choices:
            raise RequestFailed("NetworkError", "the model gave no answer")
        return [self.choices[index].choice() for index in sorted(self.choices)], self.usage


def _failure(error: _Error) -> RequestFailed:
    if error.type == "exceed_context_size_error":
        return rejected(
            f"The prompt has {error.n_prompt_tokens} tokens; this model takes {error.n_ctx}, "
            "prompt and answer together. Shorten the prompt, or use another model or server.",
            param="messages",
        )
    if error.code < 500:  # noqa: PLR2004  # the body is at fault
        return rejected(error.message, status=error.code)
    return RequestFailed("RetriableHttpStatus", error.message, status=error.code)
