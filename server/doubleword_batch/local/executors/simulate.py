"""The `simulate` executor: instant answers, the same for the same request, that say what they are.

Answers conform to the schema or tool that was asked for and can be told to go wrong (see
`faults.RequestFault`). Everything in an answer follows from the custom_id and the body, its time
included, so that two runs can be compared byte by byte.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec

from doubleword_batch.local.conversations import text_of
from doubleword_batch.local.executors.base import Answer, ExecutorModel, Request, RequestFailed
from doubleword_batch.local.executors.faults import RequestFault
from doubleword_batch.local.fake_json.schema_scalars import WORDS
from doubleword_batch.local.fake_json.schema_values import UnusableSchemaError, conforming_value
from doubleword_batch.local.json_types import rejected
from doubleword_batch.local.parse_request import (
    EMBEDDINGS,
    Asked,
    EmbeddingsAsked,
    read_embeddings,
    read_request,
)
from doubleword_batch.local.response_bodies import (
    Reply,
    Stamp,
    ToolCall,
    Usage,
    answer_body,
    embeddings_body,
)

MARK = "[simulated] "
"""What every text answer begins with."""

_CREATED = 1_735_689_600  # 2025-01-01: a fixed time, because the same request gets the same bytes
_CHARACTERS_PER_TOKEN = 4
_DIMENSIONS = 384
_MOST_DIMENSIONS = 8_192
_HOLD_POLL_SECONDS = 0.02
_RETRIED_STATUSES = frozenset({404, 408, 429, 499})


@dataclass(frozen=True, slots=True)
class _Seed:
    """What an answer's free choices come from: a digest of the custom_id and the body."""

    digest: str

    @property
    def number(self) -> int:
        return int(self.digest, 16)

    def random(self, index: int) -> Random:
        return Random(f"{self.digest}:{index}")  # noqa: S311  # must repeat, need not surprise


class SimulateExecutor:
    """Answers every endpoint for every model without a model.

    Args:
        faults: what is to go wrong, and for which requests; the first that matches counts.
    """

    name = "simulate"
    note = "answers are simulated: made up on this machine without any model"
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

    async def run(self, request: Request) -> Answer:
        """Make the answer, or the fault that was asked for.

        Raises:
            RequestFailed: 400 for a body no server would take, or a scripted failure.
        """
        encoded = msgspec.json.encode(request.body, order="deterministic")
        seed = _Seed(sha256(request.custom_id.encode() + b"\0" + encoded).hexdigest()[:32])
        fault = self._fault_for(request, encoded, seed)
        if fault is not None:
            await self._wait_or_fail(fault, request)
        if request.url == EMBEDDINGS:
            body = _embeddings(read_embeddings(request.body), seed)
        else:
            body = _text(read_request(request.url, request.body), seed, fault)
        return Answer(200, body | {"simulated": True})

    async def close(self) -> None:
        """Nothing is held."""

    def _fault_for(self, request: Request, encoded: bytes, seed: _Seed) -> RequestFault | None:
        for fault in self._faults:
            match = fault.match
            if match.custom_id is not None and match.custom_id != request.custom_id:
                continue
            if match.contains is not None and match.contains not in encoded.decode():
                continue
            if match.every is not None and seed.number % max(1, match.every):
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
            # A file, because whoever lets go may be another process; there is no event to wait for.
            while fault.until and not Path(fault.until).exists():  # noqa: ASYNC110, ASYNC240
                await anyio.sleep(_HOLD_POLL_SECONDS)


def _failure(status: int, message: str) -> RequestFailed:
    """The failure an upstream's answer with this status would be."""
    retried = status >= 500 or status in _RETRIED_STATUSES  # noqa: PLR2004  # server errors
    body = {"error": {"message": message, "type": "simulated_error", "param": None, "code": None}}
    return RequestFailed(
        "RetriableHttpStatus" if retried else "NonRetriableHttpStatus",
        msgspec.json.encode(body).decode(),
        status=status,
    )


def _text(asked: Asked, seed: _Seed, fault: RequestFault | None) -> dict[str, Any]:
    prompts = len(asked.messages) if asked.endpoint == "completions" else 1
    replies = [_reply(asked, seed.random(n), fault) for n in range(prompts * asked.choices)]
    written = (
        (reply.text or reply.refusal or "") + "".join(c.arguments for c in reply.tool_calls)
        for reply in replies
    )
    usage = Usage(_tokens(text_of(asked.messages)), sum(map(_tokens, written)))
    body = answer_body(asked, replies, usage, Stamp(seed.digest, _CREATED))
    return body | {"system_fingerprint": "simulated"}


def _reply(asked: Asked, random: Random, fault: RequestFault | None) -> Reply:
    if fault is not None and fault.fault == "refusal":
        return Reply(text=None, refusal=f"{MARK}I cannot help with that.")
    reply = _honest_reply(asked, random)
    if fault is not None and fault.fault == "invalid":
        reply = _spoilt(reply)
    written = reply.tool_calls[0].arguments if reply.tool_calls else reply.text or ""
    most = len(written)
    if fault is not None and fault.fault == "truncated":
        most = len(written) // 2
    if asked.max_tokens is not None:
        most = min(most, asked.max_tokens * _CHARACTERS_PER_TOKEN)
    return reply if most >= len(written) else _cut(reply, most)


def _honest_reply(asked: Asked, random: Random) -> Reply:
    tool = _chosen_tool(asked, random)
    if tool is not None:
        arguments = _conforming(tool.parameters, random)
        return Reply(None, "tool_calls", (ToolCall(tool.name, arguments),))
    if asked.schema is not None:
        return Reply(_conforming(asked.schema, random))
    if asked.wants_json:
        return Reply(msgspec.json.encode({"simulated": True, "text": _prose(random)}).decode())
    return Reply(MARK + _prose(random))


def _chosen_tool(asked: Asked, random: Random) -> Any:
    if asked.must_call:
        return random.choice(asked.must_call)
    # Left free, it calls a tool every other time, and answers once it has seen a tool's result.
    free = asked.tool_choice == "auto" and asked.messages[-1].get("role") != "tool"
    return random.choice(asked.tools) if free and asked.tools and random.random() < 0.5 else None  # noqa: PLR2004  # a coin


def _conforming(schema: dict[str, Any], random: Random) -> str:
    try:
        value = conforming_value(schema, random.getrandbits(64))
    except UnusableSchemaError as error:
        raise rejected(str(error)) from None
    return msgspec.json.encode(value).decode()


def _spoilt(reply: Reply) -> Reply:
    """The same reply with a text that no schema admits: it is not even JSON."""
    text = f"{MARK}this is not what the schema asks for"
    if reply.tool_calls:
        return replace(reply, tool_calls=(ToolCall(reply.tool_calls[0].name, text),))
    return replace(reply, text=text)


def _cut(reply: Reply, most: int) -> Reply:
    calls = tuple(ToolCall(call.name, call.arguments[:most]) for call in reply.tool_calls)
    text = None if reply.text is None else reply.text[:most]
    return replace(reply, text=text, tool_calls=calls, finish="length")


def _prose(random: Random) -> str:
    words = random.choices(WORDS, k=random.randint(8, 24))
    return " ".join(words).capitalize() + "."


def _tokens(text: str) -> int:
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def _embeddings(asked: EmbeddingsAsked, seed: _Seed) -> dict[str, Any]:
    dimensions = asked.dimensions or _DIMENSIONS
    if dimensions > _MOST_DIMENSIONS:
        raise rejected(f"dimensions is at most {_MOST_DIMENSIONS} here", param="dimensions")
    vectors = [_unit_vector(seed.random(n), dimensions) for n in range(len(asked.inputs))]
    tokens = sum(_tokens(one) if isinstance(one, str) else len(one) for one in asked.inputs)
    return embeddings_body(asked, vectors, tokens) | {"system_fingerprint": "simulated"}


def _unit_vector(random: Random, dimensions: int) -> list[float]:
    # Normal coordinates point in every direction alike, which uniform ones do not.
    vector = [random.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*vector)
    return [coordinate / length for coordinate in vector]
