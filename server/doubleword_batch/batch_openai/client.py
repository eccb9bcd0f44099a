"""`BatchOpenAI`: openai's asynchronous client, with calls that run in batches.

It overrides the SDK's `request` method: everything above it (parameters, `parse`, raw responses,
streams, types) and below it (live calls) is the SDK's own code.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import openai
import pydantic
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
from openai.types.chat import ChatCompletion

from doubleword_batch.batch_openai import sdk_internals as sdk
from doubleword_batch.batch_openai.batchable import (
    batch_endpoint_of,
    headers_of,
    is_live_inference,
    live_cap_error,
    why_not_batchable,
)
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.batching_thread import local_address
from doubleword_batch.batch_openai.call import CallFailedError, is_retry
from doubleword_batch.batch_openai.client_state import ClientState
from doubleword_batch.batch_openai.credentials import without_foreign_key
from doubleword_batch.batch_openai.sdk_errors import BatchCallError, as_sdk_error
from doubleword_batch.batch_openai.streaming import as_stream
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.sync.response import CallResponse
from doubleword_batch.requests.keys import plain_body
from doubleword_batch.requests.spec import CHAT

if TYPE_CHECKING:
    from doubleword_batch.settings import ProviderName

_BATCH_OPTIONS = frozenset(field.name for field in fields(BatchingOptions))
_NEEDS_THE_SDK = frozenset(
    {"extra_body", "extra_headers", "extra_query", "stream", "stream_options", "timeout"}
)


class BatchCompletions(AsyncCompletions):
    """The SDK's chat completions with a faster path for plain calls.

    The SDK's walk through its own parameter types takes about three quarters of its time for a call
    and changes nothing in a body of plain JSON. A call with anything else takes the SDK's own path,
    and so do all errors.
    """

    _client: "BatchOpenAI"  # pyright: ignore[reportIncompatibleVariableOverride]

    async def _create(self, **params: Any) -> Any:
        """As the SDK's."""
        is_plain = "model" in params and "messages" in params and _NEEDS_THE_SDK.isdisjoint(params)
        body = plain_body(params) if is_plain and self._client.runs_batches else None
        if body is None:
            return cast("Any", await super().create(**params))
        try:
            response = await self._client.response_to(CHAT, params["model"], body)
        except DoublewordBatchError as error:
            raise as_sdk_error(self._client, error, self._client.url_of(CHAT)) from error
        try:
            return ChatCompletion.__pydantic_validator__.validate_json(response.body)
        except pydantic.ValidationError:
            # An error of the provider, or a body that does not fit the SDK's types, which it
            # accepts.
            options = sdk.FinalRequestOptions.construct(method="post", url="/chat/completions")
            return await self._client.answer_of(response, ChatCompletion, options)

    if not TYPE_CHECKING:  # for whom the SDK's many overloads describe it
        create = _create


class BatchChat(AsyncChat):
    """The SDK's chat with these completions."""

    @cached_property
    def completions(self) -> BatchCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower
        """As the SDK's."""
        return BatchCompletions(self._client)


class BatchOpenAI(openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` at batch prices.

    `chat.completions`, `responses` and `embeddings` calls run in batches, and each caller gets its
    own typed answer as soon as it arrives; everything else goes to the live API.

    ```python
    async with BatchOpenAI() as client:
        answers = await asyncio.gather(*(
            client.chat.completions.create(model=model, messages=messages) for messages in prompts
        ))
    ```

    One client may be used from several event loops and threads, except for live calls, which stay
    in the first loop that makes one. With a key function, an `http_client`, a `default_query` or an
    Authorization header, all calls stay in that loop, because the requests of its batches are sent
    there. `max_retries` and the client's `timeout` apply to live calls only; a batched call waits
    for its answer, or until `deadline_seconds` or its own `timeout=` is over.

    Args:
        api_key: the key, or an asynchronous function that gives it; falls back to
            DOUBLEWORD_API_KEY, then to OPENAI_API_KEY; without any of them, the local server on
            this machine answers.
        base_url: falls back to DOUBLEWORD_BASE_URL, then to OPENAI_BASE_URL.
        batch_size: maximum number of calls in one batch.
        batch_window_seconds: how long the first call of a batch waits for others.
        poll_interval_seconds: how often the status of a running batch is fetched.
        completion_window: `24h`, `1h` for a higher price, or `async` for calls that are sent alone
            and at once, in the provider's asynchronous tier.
        batch_metadata: stored with each batch at the provider.
        deadline_seconds: after this time a call without an answer raises `CallTimeoutError`; by
            default the completion window plus two hours.
        max_retry_seconds: how long a batch is retried while its provider fails, including the
            retries of its single requests.
        remember_answers: answer a call from an earlier run that was already charged for.
        share_identical: equal calls that wait at the same time share one request.
        state_dir: where jobs and answers are stored; falls back to DOUBLEWORD_BATCH_HOME.
        batch_provider: whose rules apply; by default recognised by the URL.
        unbatchable: what to do with a model call that cannot run in a batch: `refuse` it, or send
            it `live` at live prices.
        sdk_options: the other arguments of `AsyncOpenAI`. `http_client`, `default_headers`,
            `default_query`, `organization` and `project` apply to batches as to live calls; with
            `provider`, `workload_identity` or `data_residency` no call can run in a batch.

    Raises:
        ConfigError, InputError: the settings or arguments cannot be used.
        openai.OpenAIError, ValueError: the SDK does not accept this combination of arguments.
    """

    api_key: str  # set to the local server's token once that is known

    def __init__(
        self,
        *,
        api_key: str | Callable[[], Awaitable[str]] | None = None,
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
        _state: ClientState | None = None,
        **sdk_options: Any,
    ) -> None:
        given = {"api_key": api_key, "base_url": base_url}
        sdk_options |= {name: value for name, value in given.items() if value is not None}
        if _state is None:
            options = BatchingOptions(
                batch_size=batch_size,
                batch_window_seconds=batch_window_seconds,
                poll_interval_seconds=poll_interval_seconds,
                completion_window=completion_window,
                batch_metadata=batch_metadata or {},
                deadline_seconds=deadline_seconds,
                max_retry_seconds=max_retry_seconds,
                remember_answers=remember_answers,
                share_identical=share_identical,
            )
            _state = ClientState.of(sdk_options, options, batch_provider, state_dir)
            sdk_options |= _state.sdk_arguments()
        super().__init__(**sdk_options)
        sdk.set_custom_headers(
            self, without_foreign_key(str(self.base_url), sdk.custom_headers(self))
        )
        self._sends_live = unbatchable == "live"
        self._state = _state.started(sdk.request_headers(self), sdk.request_query(self))

    @cached_property
    def chat(self) -> BatchChat:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower
        """As the SDK's."""
        return BatchChat(self)

    @property
    def runs_batches(self) -> bool:
        """Whether calls can run in batches; False if an argument applies to live calls only."""
        return self._state.shared is not None

    def copy(self, **changes: Any) -> "BatchOpenAI":  # pyright: ignore[reportIncompatibleMethodOverride]  # the SDK's arguments, and ours
        """The same client with other options, including those of the constructor.

        The copy shares this client's batches unless its key, address, connection or batch options
        differ. A copy of a client that only makes live calls has its own.
        """
        option_changes = {name: changes.pop(name) for name in _BATCH_OPTIONS & changes.keys()}
        state_dir = changes.pop("state_dir", None)
        provider = changes.pop("batch_provider", None)
        own = dict(changes.pop("_extra_kwargs", {}))
        own["unbatchable"] = changes.pop("unbatchable", "live" if self._sends_live else "refuse")
        changes = _effective(changes)
        state = self._state.changed(changes, option_changes, provider, state_dir)
        if state.credentials != self._state.credentials:
            changes |= state.sdk_arguments()
        own["_state"] = state
        return super().copy(**changes, _extra_kwargs=own)

    with_options = copy  # pyright: ignore[reportAssignmentType]

    async def close(self) -> None:
        """Close; callers that still wait get an error, and what runs at the provider goes on."""
        if self._state.shared is not None:
            await self._state.shared.batching_thread.close()
        await super().close()

    async def request(  # pyright: ignore[reportIncompatibleMethodOverride]  # overloads only
        self,
        cast_to: Any,
        options: sdk.FinalRequestOptions,
        *,
        stream: bool = False,
        stream_cls: Any = None,
    ) -> Any:
        """The SDK's one path for every request."""
        endpoint = batch_endpoint_of(options)
        if endpoint is None and not is_live_inference(options):
            return await self._live(cast_to, options, stream=stream, stream_cls=stream_cls)
        error = self._error_against(endpoint, options)
        if error is None:
            return await self._batched(cast_to, options, stream=stream, stream_cls=stream_cls)
        if self._sends_live:
            error = live_cap_error(self._state.settings)
            if error is None:
                return await self._live(cast_to, options, stream=stream, stream_cls=stream_cls)
        raise as_sdk_error(self, error, self.url_of(options.url)) from error

    def response_to(
        self, endpoint: str, model: object, body: bytes, *, is_retry: bool = False
    ) -> Awaitable[CallResponse]:
        """Begin a call with this body; the response to await may have an error status.

        Raises:
            DoublewordBatchError: there is no response; `as_sdk_error` turns it into an exception of
                the SDK.
        """
        shared = self._state.shared
        if shared is None:
            raise AssertionError("a client of live calls only was asked to batch")
        if shared.uses_callers_loop:
            self._state.affinity.bind()
        named = model if isinstance(model, str) else ""
        call = shared.batching_thread.begin(endpoint, named, body, is_retry=is_retry)
        return shared.batching_thread.response_of(call)

    async def answer_of(
        self,
        response: CallResponse,
        cast_to: Any,
        options: sdk.FinalRequestOptions,
        *,
        stream: bool = False,
        stream_cls: Any = None,
    ) -> Any:
        """The SDK's object for a response, or the exception that it raises for one."""
        is_stream = stream and not response.is_failure
        content_type = "text/event-stream" if is_stream else "application/json"
        return await sdk.answer_of(
            self,
            sdk.Response(
                response.status,
                headers={"content-type": content_type},
                content=response.body,
                request=sdk.Request("POST", self.url_of(options.url), headers=headers_of(options)),
            ),
            cast_to,
            options,
            stream=stream,
            stream_cls=stream_cls,
        )

    def url_of(self, path: str) -> str:
        """Where a live call to that path or endpoint would go."""
        return str(self.base_url).rstrip("/") + "/" + path.removeprefix("/v1").lstrip("/")

    def _error_against(
        self, endpoint: str | None, options: sdk.FinalRequestOptions
    ) -> DoublewordBatchError | None:
        """Why a model call cannot run in a batch, or None if it can."""
        if endpoint is not None and self._state.live_only is not None:
            return self._state.live_only
        reason = "the Batch API does not have this endpoint"
        if endpoint is not None:
            reason = why_not_batchable(options)
        if reason is None:
            return None
        return CallFailedError(
            f"POST {options.url} cannot run in a batch: {reason}.",
            hint="Make the call with AsyncOpenAI, or create BatchOpenAI with unbatchable='live' to "
            "send such calls live, at live prices.",
            code="not_batchable",
        )

    async def _batched(
        self, cast_to: Any, options: sdk.FinalRequestOptions, *, stream: bool, stream_cls: Any
    ) -> Any:
        body = {**cast("dict[str, Any]", options.json_data), **(options.extra_json or {})}
        without_stream = dict(body)
        if stream:
            without_stream.pop("stream", None)
            without_stream.pop("stream_options", None)
        endpoint = batch_endpoint_of(options) or ""
        encoded = _encoded(without_stream, options)
        headers = {name.lower(): value for name, value in headers_of(options).items()}
        response = await self._response_in_time(
            endpoint,
            body.get("model"),
            encoded,
            seconds=_seconds(options.timeout),
            is_retry=is_retry(headers),
        )
        if stream and not response.is_failure:
            response = as_stream(endpoint, body, response)
        return await self.answer_of(
            response, cast_to, options, stream=stream, stream_cls=stream_cls
        )

    async def _response_in_time(
        self, endpoint: str, model: object, body: bytes, *, seconds: float | None, is_retry: bool
    ) -> CallResponse:
        try:
            responding = self.response_to(endpoint, model, body, is_retry=is_retry)
            if seconds is None:
                return await responding
            async with asyncio.timeout(seconds):
                return await responding
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

    async def _live(
        self, cast_to: Any, options: sdk.FinalRequestOptions, *, stream: bool, stream_cls: Any
    ) -> Any:
        try:
            self._state.affinity.bind()
        except DoublewordBatchError as error:
            raise as_sdk_error(self, error, self.url_of(options.url)) from error
        if (
            self._state.shared is not None
            and not self._state.shared.batching_thread.settings.base_url
        ):
            self.base_url, self.api_key = await self._state.shared.batching_thread.run(
                local_address
            )
        return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)


def _effective(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that change something in a copy, by the SDK's own rules.

    An empty key or address, None and NotGiven keep the old value; only a provider is removed by
    None.
    """
    return {
        name: value
        for name, value in changes.items()
        if not isinstance(value, openai.NotGiven)
        and (value is not None or name == "provider")
        and (value or name not in {"api_key", "base_url"})
    }


def _seconds(timeout: Any) -> float | None:
    """A call's own timeout; None if it has none."""
    if isinstance(timeout, int | float):
        return float(timeout)
    return getattr(timeout, "read", None)


def _encoded(body: Mapping[str, Any], options: sdk.FinalRequestOptions) -> bytes:
    try:
        return sdk.json_body(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BatchCallError(
            f"The body of POST {options.url} cannot be written as JSON: {error}.",
            hint="Give plain values: text, numbers, lists and dictionaries.",
            code="invalid_argument",
        ) from error
