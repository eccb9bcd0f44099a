"""`BatchOpenAI`: openai's asynchronous client, whose calls run in batches.

The seam is the SDK's `request` method: everything above it (parameters, `parse`, raw responses,
streams, types) and below it (live calls) is the SDK's own.
"""

import asyncio
import weakref
from collections.abc import Coroutine, Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import openai
from openai._models import FinalRequestOptions
from openai._utils._json import openapi_dumps

from doubleword_batch.drop_in import http
from doubleword_batch.drop_in.batchable import (
    endpoint_of,
    headers_of,
    is_live_inference,
    reason_against,
)
from doubleword_batch.drop_in.call import Answer, CallFailedError
from doubleword_batch.drop_in.completions import BatchChat
from doubleword_batch.drop_in.engine import Engine, local_address
from doubleword_batch.drop_in.plan import Plan
from doubleword_batch.drop_in.replay import replayed
from doubleword_batch.drop_in.sdk_errors import BatchCallError, as_sdk_error
from doubleword_batch.drop_in.settings import drop_in_settings
from doubleword_batch.errors import ConfigError, DoublewordBatchError

if TYPE_CHECKING:
    from doubleword_batch.config import ProviderName, Settings
_ERRORS_FROM = 400
_PLAN = frozenset(field.name for field in fields(Plan))
_OF_THE_BATCHES = frozenset(
    {"api_key", "base_url", "organization", "project", "default_headers", "set_default_headers"}
)
_NO_KEY = "none"  # the SDK wants one; without a key nothing but the local server is asked


class BatchOpenAI(openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` at batch prices.

    `chat.completions`, `responses` and `embeddings` calls are gathered into batches, and each
    caller gets its own typed answer as it lands; everything else goes to the live API.

    ```python
    async with BatchOpenAI() as client:
        answers = await asyncio.gather(*(
            client.chat.completions.create(model=model, messages=messages) for messages in prompts
        ))
    ```

    One client may be used from several event loops and threads, except for live calls, which stay
    with the first loop that makes one. The SDK's `max_retries` and `timeout` hold for live calls;
    a batched call waits until its answer, or `deadline_seconds`, or its own `timeout=`.

    Args:
        api_key: falls back to DOUBLEWORD_API_KEY, then to OPENAI_API_KEY; with none of them the
            local server of this machine answers.
        base_url: falls back to DOUBLEWORD_BASE_URL, then to OPENAI_BASE_URL.
        batch_size: calls in one batch, at most.
        batch_window_seconds: how long the first call of a batch waits for others.
        poll_interval_seconds: how often a running batch is looked at.
        completion_window: `24h`, or `1h` for a higher price.
        batch_metadata: kept with each batch at the provider.
        deadline_seconds: after how long a call without an answer raises `CallTimeoutError`; by
            default the completion window and two hours more.
        max_retry_seconds: how long a batch whose provider fails is tried again.
        remember_answers: give a call the answer that an earlier run was already charged for.
        share_identical: equal calls that wait at the same time share one request.
        state_dir: where jobs and answers are kept; falls back to DOUBLEWORD_BATCH_HOME.
        batch_provider: which provider's rules hold; by default told by the URL.
        unbatchable: what happens to a model call that cannot run in a batch: `refuse` it, or send
            it `live` at live prices.
        sdk_options: the other arguments of `AsyncOpenAI`. `organization`, `project` and
            `default_headers` go with the batches too, `http_client` and `default_query` with live
            calls only; `data_residency`, `provider` and `workload_identity` are refused.

    Raises:
        ConfigError, InputError: the settings or arguments cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: Any = None,
        batch_size: int = 1_000,
        batch_window_seconds: float = 10.0,
        poll_interval_seconds: float = 5.0,
        completion_window: str = "24h",
        batch_metadata: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        max_retry_seconds: float = 600.0,
        remember_answers: bool = True,
        share_identical: bool = False,
        state_dir: str | Path | None = None,
        batch_provider: "ProviderName | None" = None,
        unbatchable: Literal["refuse", "live"] = "refuse",
        _shared: Engine | None = None,
        _own: "tuple[Settings, Plan] | None" = None,
        **sdk_options: Any,
    ) -> None:
        _refuse_unknown_ways_in(sdk_options)
        self._sends_live = unbatchable == "live"
        self._live_loop: asyncio.AbstractEventLoop | None = None
        if _shared is not None:
            settings, plan = _shared.settings, _shared.plan
        else:
            settings, plan = _own or (
                drop_in_settings(
                    api_key=_text_key(api_key),
                    base_url=str(base_url) if base_url else None,
                    state_dir=state_dir,
                    provider=batch_provider,
                ),
                Plan(
                    batch_size=batch_size,
                    batch_window_seconds=batch_window_seconds,
                    poll_interval_seconds=poll_interval_seconds,
                    completion_window=completion_window,
                    batch_metadata=batch_metadata or {},
                    deadline_seconds=deadline_seconds,
                    max_retry_seconds=max_retry_seconds,
                    remember_answers=remember_answers,
                    share_identical=share_identical,
                ),
            )
        super().__init__(
            api_key=settings.api_key.reveal() if settings.api_key else _NO_KEY,
            base_url=settings.base_url or "http://127.0.0.1/v1",
            **sdk_options,
        )
        self._engine = _shared or Engine(settings, plan, self._headers_of_all())
        if _shared is None:
            weakref.finalize(self, self._engine.stop)

    @cached_property
    def chat(self) -> BatchChat:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower
        """As the SDK's."""
        return BatchChat(self)

    def copy(self, **changes: Any) -> "BatchOpenAI":  # pyright: ignore[reportIncompatibleMethodOverride]  # the SDK's arguments, and ours
        """The same client with other options; those of the constructor count too.

        The copy shares the batches of this client unless its key, address, headers or gathering
        differ.
        """
        own = {name: changes.pop(name) for name in _PLAN & changes.keys()}
        unbatchable = changes.pop("unbatchable", "live" if self._sends_live else "refuse")
        extra = {**changes.pop("_extra_kwargs", {}), "unbatchable": unbatchable}
        if own or _OF_THE_BATCHES & changes.keys():
            settings = self._engine.settings
            if changes.get("api_key") or changes.get("base_url"):
                settings = drop_in_settings(
                    api_key=_text_key(changes.get("api_key")) or self.api_key,
                    base_url=str(changes.get("base_url") or settings.base_url) or None,
                    state_dir=settings.home,
                )
            extra["_own"] = settings, replace(self._engine.plan, **own)
        else:
            extra["_shared"] = self._engine
        return super().copy(**changes, _extra_kwargs=extra)

    with_options = copy  # pyright: ignore[reportAssignmentType]

    async def close(self) -> None:
        """Close; callers that still wait get an error, what runs at the provider goes on."""
        await self._engine.close()
        await super().close()

    async def request(  # pyright: ignore[reportIncompatibleMethodOverride]  # overloads only
        self,
        cast_to: Any,
        options: FinalRequestOptions,
        *,
        stream: bool = False,
        stream_cls: Any = None,
    ) -> Any:
        """The SDK's one path for every request."""
        endpoint = endpoint_of(options)
        if endpoint is None and not is_live_inference(options):
            return await self._live(cast_to, options, stream=stream, stream_cls=stream_cls)
        reason = "the Batch API has no such endpoint" if endpoint is None else None
        reason = reason or reason_against(options)
        if reason is None:
            return await self._batched(cast_to, options, stream=stream, stream_cls=stream_cls)
        if self._sends_live:
            return await self._live(cast_to, options, stream=stream, stream_cls=stream_cls)
        raise BatchCallError(
            f"POST {options.url} cannot run in a batch: {reason}.",
            hint="Make the call with AsyncOpenAI, or create BatchOpenAI with unbatchable='live' to "
            "send such calls live, at live prices.",
            code="not_batchable",
        )

    def answering(self, endpoint: str, model: object, body: bytes) -> Coroutine[Any, Any, Answer]:
        """The answer to the body of one call, to be awaited; it may have an error status.

        Raises:
            DoublewordBatchError: when awaited: there is none; `as_sdk_error` says it.
        """
        return self._engine.answer(endpoint, model if isinstance(model, str) else "", body)

    async def built(self, url: str, cast_to: Any, answer: Answer) -> Any:
        """What the SDK makes of an answer, or the exception that it raises for one."""
        options = FinalRequestOptions.construct(method="post", url=url)
        return await self._processed(cast_to, options, answer, stream=False, stream_cls=None)

    async def _batched(
        self, cast_to: Any, options: FinalRequestOptions, *, stream: bool, stream_cls: Any
    ) -> Any:
        body = {**cast("dict[str, Any]", options.json_data), **(options.extra_json or {})}
        asked_for_stream = dict(body)
        if stream:
            body.pop("stream", None)
            body.pop("stream_options", None)
        answer = await self._answer(
            endpoint_of(options) or "", body, _encoded(body, options), _seconds(options.timeout)
        )
        if stream and answer.status < _ERRORS_FROM:
            answer = replayed(endpoint_of(options) or "", asked_for_stream, answer)
        return await self._processed(cast_to, options, answer, stream=stream, stream_cls=stream_cls)

    async def _answer(
        self, endpoint: str, body: Mapping[str, Any], encoded: bytes, seconds: float | None
    ) -> Answer:
        answering = self.answering(endpoint, body.get("model"), encoded)
        try:
            if seconds is None:
                return await answering
            async with asyncio.timeout(seconds):
                return await answering
        except TimeoutError:
            error: DoublewordBatchError = CallFailedError(
                f"No answer came within the call's timeout of {seconds:g} s.",
                hint="Batches take minutes to hours: leave timeout= out to wait for the whole "
                "completion window. The same call made again gets the answer once it is there.",
                code="deadline",
            )
        except DoublewordBatchError as failure:
            error = failure
        raise as_sdk_error(self, error, self.url_of(endpoint)) from error

    async def _processed(
        self,
        cast_to: Any,
        options: FinalRequestOptions,
        answer: Answer,
        *,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        headers = headers_of(options)
        cast_to = self._maybe_override_cast_to(cast_to, options)
        is_stream = stream and answer.status < _ERRORS_FROM
        response = http.Response(
            answer.status,
            headers={"content-type": "text/event-stream" if is_stream else "application/json"},
            content=answer.body,
            request=http.Request("POST", self.url_of(options.url), headers=headers),
        )
        if answer.status >= _ERRORS_FROM:
            raise self._make_status_error_from_response(response)
        return await self._process_response(
            cast_to=cast_to,
            options=options,
            response=response,
            stream=stream,
            stream_cls=stream_cls,
        )

    async def _live(
        self, cast_to: Any, options: FinalRequestOptions, *, stream: bool, stream_cls: Any
    ) -> Any:
        loop = asyncio.get_running_loop()
        if self._live_loop is None or self._live_loop.is_closed():
            self._live_loop = loop
        if self._live_loop is not loop:
            raise BatchCallError(
                "Live calls of one client stay in one event loop, and this is a second one.",
                hint="Make one BatchOpenAI for each event loop; batched calls may share one.",
                code="second_loop",
            )
        if not self._engine.settings.base_url:
            self.base_url, self.api_key = await self._engine.ask(local_address)
        return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)

    def _headers_of_all(self) -> dict[str, str]:
        """What the provider is to be told with every request, batches' too."""
        named = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        given = {**named, **self._custom_headers}
        return {name: value for name, value in given.items() if isinstance(value, str)}

    def url_of(self, path: str) -> str:
        """Where a live call of that path or endpoint would go."""
        return str(self.base_url).rstrip("/") + "/" + path.removeprefix("/v1").lstrip("/")


def _refuse_unknown_ways_in(sdk_options: Mapping[str, object]) -> None:
    for name in ("data_residency", "provider", "workload_identity"):
        if sdk_options.get(name) is not None:
            raise ConfigError(
                f"BatchOpenAI takes no {name}: its batches need a key and an address.",
                hint="Give api_key= and base_url=, such as that of the region.",
                code="unknown_way_in",
            )


def _text_key(key: object) -> str | None:
    if key is None or isinstance(key, str):
        return key
    raise ConfigError(
        "BatchOpenAI takes an API key as text only.",
        hint="A batch outlives a key that changes: give the key itself, or set DOUBLEWORD_API_KEY.",
        code="malformed_key",
    )


def _seconds(timeout: Any) -> float | None:
    """A call's own timeout; None where it names none."""
    if isinstance(timeout, int | float):
        return float(timeout)
    return getattr(timeout, "read", None)


def _encoded(body: Mapping[str, Any], options: FinalRequestOptions) -> bytes:
    try:
        return openapi_dumps(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BatchCallError(
            f"The body of POST {options.url} cannot be written as JSON: {error}.",
            hint="Give plain values: text, numbers, lists and dictionaries.",
            code="not_json",
        ) from error
