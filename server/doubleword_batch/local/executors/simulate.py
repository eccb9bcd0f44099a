"""The `simulate` executor: instant answers, identical for identical requests, marked as simulated.

Answers conform to the requested schema or tool and can be made to fail (see `faults.RequestFault`).
Everything in an answer, even its time, follows from the custom_id and the body, so that two runs
can be compared byte by byte.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from doubleword_batch.local.executors.base import (
    Completion,
    ExecutorModel,
    Request,
    RequestFailed,
    TokenUsage,
    error_body,
    rejected,
)
from doubleword_batch.local.executors.faults import RequestFault, until_it_exists
from doubleword_batch.local.fake_json.scalars import WORDS
from doubleword_batch.local.fake_json.values import UnusableSchemaError, conforming_value
from doubleword_batch.local.parse_request import (
    EMBEDDINGS,
    ParsedEmbeddings,
    ParsedRequest,
    Tool,
    parse_embeddings,
    parse_request,
)
from doubleword_batch.local.response_bodies import (
    ResponseChoice,
    Stamp,
    ToolCall,
    embeddings_body,
    response_body,
)

MARK = "[simulated] "
"""The beginning of every text answer."""

_CREATED = 1_735_689_600  # 2025-01-01: a fixed time, so that the same request gets the same bytes
_CHARACTERS_PER_TOKEN = 4
_DIMENSIONS = 384
_MOST_DIMENSIONS = 8_192
_MOST_INPUTS = 2_048


class SimulateExecutor:
    """Answers every endpoint for every model, without a model.

    Args:
        faults: the faults to simulate; the first that matches a request applies.
    """

    name = "simulate"
    note = "answers are simulated"
    concurrency = 100
    accepts_any_model = True

    def __init__(self, faults: Sequence[RequestFault] = ()) -> None:
        self._faults = tuple(faults)
        self._failed_attempts: dict[str, int] = {}

    async def models(self) -> list[ExecutorModel]:
        """One name of each kind; any other name is answered too."""
        return [
            ExecutorModel("simulated-chat", "chat"),
            ExecutorModel("simulated-embedding", "embedding"),
        ]

    async def run(self, request: Request) -> Completion:
        """Make the answer, or the fault configured for it."""
        encoded = msgspec.json.encode(request.body, order="deterministic")
        digest = sha256(request.custom_id.encode() + b"\0" + encoded).hexdigest()[:32]
        fault = self._fault_for(request, encoded, digest)
        if fault is not None:
            await self._wait_or_fail(fault, request)
        if request.url == EMBEDDINGS:
            body = await _embeddings(parse_embeddings(request.body), digest)
        else:
            body = await _chat(parse_request(request.url, request.body), digest, fault)
        return Completion(200, body | {"simulated": True})

    async def close(self) -> None:
        """Does nothing: there is nothing to release."""

    def _fault_for(self, request: Request, encoded: bytes, digest: str) -> RequestFault | None:
        for fault in self._faults:
            match = fault.match
            if match.custom_id is not None and match.custom_id != request.custom_id:
                continue
            if match.contains is not None and match.contains not in encoded.decode():
                continue
            if match.every is not None and int(digest, 16) % max(1, match.every):
                continue
            return fault
        return None

    async def _wait_or_fail(self, fault: RequestFault, request: Request) -> None:
        if fault.fault == "error":
            raise _failure(fault.status, fault.message)
        if fault.fault == "flaky":
            attempts = self._failed_attempts.pop(request.id, 0)
            if attempts < fault.times:
                self._failed_attempts[request.id] = attempts + 1
                raise _failure(503, fault.message)
        if fault.fault == "slow":
            await anyio.sleep(fault.seconds)
        if fault.fault == "hold":
            await until_it_exists(fault.until)


def _failure(status: int, message: str) -> RequestFailed:
    text = msgspec.json.encode(error_body(message, "simulated_error")).decode()
    return RequestFailed.of_status(status, text)


def _random(digest: str, index: int) -> Random:
    return Random(f"{digest}:{index}")  # noqa: S311  # must be repeatable, not secure


async def _chat(parsed: ParsedRequest, digest: str, fault: RequestFault | None) -> dict[str, Any]:
    choices: list[ResponseChoice] = []
    for n in range(parsed.n):
        if n:
            await anyio.lowlevel.checkpoint()  # lets the server answer others
        choices.append(_choice(parsed, _random(digest, n), fault))
    written = (
        (choice.text or choice.refusal or "") + "".join(c.arguments for c in choice.tool_calls)
        for choice in choices
    )
    usage = TokenUsage(_tokens(parsed.text), sum(map(_tokens, written)))
    body = response_body(parsed, choices, usage, Stamp(digest, _CREATED))
    return body | {"system_fingerprint": "simulated"}


def _choice(parsed: ParsedRequest, random: Random, fault: RequestFault | None) -> ResponseChoice:
    if fault is not None and fault.fault == "refusal":
        return ResponseChoice(text=None, refusal=f"{MARK}I cannot help with that.")
    choice = _valid_choice(parsed, random)
    if fault is not None and fault.fault == "invalid":
        choice = _made_invalid(choice)
    written = choice.tool_calls[0].arguments if choice.tool_calls else choice.text or ""
    most = len(written)
    if fault is not None and fault.fault == "truncated":
        most = len(written) // 2
    if parsed.max_tokens is not None:
        most = min(most, parsed.max_tokens * _CHARACTERS_PER_TOKEN)
    return choice if most >= len(written) else _cut(choice, most)


def _valid_choice(parsed: ParsedRequest, random: Random) -> ResponseChoice:
    tool = _chosen_tool(parsed, random)
    if tool is not None:
        arguments = _conforming(tool.parameters, random)
        return ResponseChoice(None, "tool_calls", (ToolCall(tool.name, arguments),))
    if parsed.schema is not None:
        return ResponseChoice(_conforming(parsed.schema, random))
    if parsed.wants_json:
        return ResponseChoice(
            msgspec.json.encode({"simulated": True, "text": _prose(random)}).decode()
        )
    return ResponseChoice(MARK + _prose(random))


def _chosen_tool(parsed: ParsedRequest, random: Random) -> Tool | None:
    if parsed.must_call:
        return random.choice(parsed.must_call)
    # If free to choose, it calls a tool every other time, and answers once it sees a tool's result.
    free = parsed.tool_choice == "auto" and parsed.messages[-1].get("role") != "tool"
    return random.choice(parsed.tools) if free and parsed.tools and random.random() < 0.5 else None  # noqa: PLR2004  # a coin


def _conforming(schema: dict[str, Any], random: Random) -> str:
    try:
        value = conforming_value(schema, random.getrandbits(64))
    except UnusableSchemaError as error:
        raise rejected(str(error)) from None
    return msgspec.json.encode(value).decode()


def _made_invalid(choice: ResponseChoice) -> ResponseChoice:
    """The same choice with a text that fits no schema, because it is not JSON."""
    text = f"{MARK}this does not fit the schema"
    if choice.tool_calls:
        return replace(choice, tool_calls=(ToolCall(choice.tool_calls[0].name, text),))
    return replace(choice, text=text)


def _cut(choice: ResponseChoice, most: int) -> ResponseChoice:
    calls = tuple(ToolCall(call.name, call.arguments[:most]) for call in choice.tool_calls)
    text = None if choice.text is None else choice.text[:most]
    return replace(choice, text=text, tool_calls=calls, finish="length")


def _prose(random: Random) -> str:
    words = random.choices(WORDS, k=random.randint(8, 24))
    return " ".join(words).capitalize() + "."


def _tokens(text: str) -> int:
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


async def _embeddings(parsed: ParsedEmbeddings, digest: str) -> dict[str, Any]:
    dimensions = parsed.dimensions or _DIMENSIONS
    if dimensions > _MOST_DIMENSIONS:
        raise rejected(f"dimensions is at most {_MOST_DIMENSIONS} here", param="dimensions")
    if len(parsed.inputs) > _MOST_INPUTS:
        raise rejected(f"input holds at most {_MOST_INPUTS} texts here", param="input")
    vectors: list[list[float]] = []
    for n in range(len(parsed.inputs)):
        vectors.append(_unit_vector(_random(digest, n), dimensions))
        await anyio.lowlevel.checkpoint()  # lets the server answer others
    tokens = sum(
        _tokens(given) if isinstance(given, str) else len(given) for given in parsed.inputs
    )
    return embeddings_body(parsed, vectors, tokens) | {"system_fingerprint": "simulated"}


def _unit_vector(random: Random, dimensions: int) -> list[float]:
    # Normally distributed coordinates make every direction equally likely; uniform ones do not.
    vector = [random.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*vector)
    return [coordinate / length for coordinate in vector]
