"""`BatchOpenAI`: openai's asynchronous client, whose calls run in batches.

The seam is the SDK's `request` method: everything above it (parameters, `parse`, raw responses,
streams, types) and below it (live calls) is the SDK's own.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import openai
from openai._models import FinalRequestOptions
from openai._utils._json import openapi_dumps

from doubleword_batch.batch_openai import credentials, http
from doubleword_batch.batch_openai.batchable import (
    endpoint_of,
    headers_of,
    is_live_inference,
    reason_against,
)
from doubleword_batch.batch_openai.call import Answer, CallFailedError
from doubleword_batch.batch_openai.completions import BatchChat
from doubleword_batch.batch_openai.engine import Engine, local_address
from doubleword_batch.batch_openai.errors import BatchCallError, as_sdk_error
from doubleword_batch.batch_openai.loop_affinity import HomeLoop
from doubleword_batch.batch_openai.options import Plan
from doubleword_batch.batch_openai.streaming import replayed
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.session import Connection

if TYPE_CHECKING:
    from doubleword_batch.settings import ProviderName, Settings
_ERRORS_FROM = 400
_PLAN = frozenset(field.name for field in fields(Plan))
_OF_THE_CONNECTION = frozenset(
    {
        *("default_headers", "default_query", "http_client", "organization", "project"),
        *("set_default_headers", "set_default_query"),
    }
)


class _Gathered:
    """What a client and its copies share; the engine stops with the last of them."""

    def __init__(self, engine: Engine, *, is_carried: bool) -> None:
        self.engine = engine
        self.is_carried = is_carried
        weakref.finalize(self, engine.stop)


@dataclass(frozen=True, slots=True)
class _Copied:
    """What a copy takes over from the client that it was made from; None where it is new."""

    home: HomeLoop
    has_callers_http: bool
    plan: Plan
    settings: "Settings | None"
    gathered: _Gathered | None


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
    with the first loop that makes one. So do all calls of a client with a key function, a
    `workload_identity`, a `provider`, an `http_client`, a `default_query` or an Authorization
    header: the SDK itself then sends the requests of the batches, in that loop. `max_retries` and
    the client's `timeout` hold for live calls only; a batched call waits until its answer, or
    `deadline_seconds`, or its own `timeout=`.

    Args:
        api_key: the key, or an asynchronous function that gives it; falls back to
            DOUBLEWORD_API_KEY, then to OPENAI_API_KEY; with none of them the local server of this
            machine answers.
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
        sdk_options: the other arguments of `AsyncOpenAI`; they hold for batches as for live calls.

    Raises:
        ConfigError, InputError: the settings or arguments cannot be used.
        openai.OpenAIError, ValueError: the SDK does not take these arguments together.
    """

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
        _copied: _Copied | None = None,
        **sdk_options: Any,
    ) -> None:
        given = {"api_key": api_key, "base_url": base_url}
        sdk_options |= {name: value for name, value in given.items() if value is not None}
        has_callers_http = sdk_options.get("http_client") is not None
        if _copied is None:
            settings = credentials.plain_settings(sdk_options, state_dir, batch_provider)
            if settings is not None:
                sdk_options |= credentials.sdk_arguments(settings, api_key)
            plan = Plan(
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
            _copied = _Copied(HomeLoop(), has_callers_http, plan, settings, None)
        super().__init__(**sdk_options)
        self._custom_headers = credentials.own_headers(self, self._custom_headers)
        self._sends_live = unbatchable == "live"
        self._home = _copied.home
        self._has_callers_http = _copied.has_callers_http
        self._gathered = _copied.gathered or self._new_gathering(
            _copied.settings or credentials.settings_of(self, state_dir, batch_provider),
            _copied.plan,
        )

    @cached_property
    def chat(self) -> BatchChat:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower
        """As the SDK's."""
        return BatchChat(self)

    def copy(self, **changes: Any) -> "BatchOpenAI":  # pyright: ignore[reportIncompatibleMethodOverride]  # the SDK's arguments, and ours
        """The same client with other options; those of the constructor count too.

        The copy shares the batches of this client unless its key, address, connection or gathering
        differ.
        """
        engine = self._gathered.engine
        plan_changes = {name: changes.pop(name) for name in _PLAN & changes.keys()}
        state_dir = changes.pop("state_dir", None)
        provider = changes.pop("batch_provider", None)
        extra = changes.pop("_extra_kwargs", {})
        extra["unbatchable"] = changes.pop("unbatchable", "live" if self._sends_live else "refuse")
        changes = credentials.given(changes)
        is_elsewhere = bool(state_dir or provider or credentials.ARGUMENTS & changes.keys())
        settings: Settings | None = engine.settings
        if is_elsewhere:
            settings, provider, found = credentials.copied(
                self, engine.settings, changes, state_dir, provider
            )
            changes |= found
        is_new = is_elsewhere or plan_changes or _OF_THE_CONNECTION & changes.keys()
        extra |= {"state_dir": state_dir or engine.settings.home, "batch_provider": provider}
        extra["_copied"] = _Copied(
            home=HomeLoop() if "http_client" in changes else self._home,
            has_callers_http="http_client" in changes or self._has_callers_http,
            plan=replace(engine.plan, **plan_changes),
            settings=settings,
            gathered=None if is_new else self._gathered,
        )
        return super().copy(**changes, _extra_kwargs=extra)

    with_options = copy  # pyright: ignore[reportAssignmentType]

    async def close(self) -> None:
        """Close; callers that still wait get an error, what runs at the provider goes on."""
        await self._gathered.engine.close()
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
            DoublewordBatchError: here or when awaited: there is none; `as_sdk_error` says it.
        """
        if self._gathered.is_carried:
            self._home.enter()
        return self._gathered.engine.answer(endpoint, model if isinstance(model, str) else "", body)

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
        try:
            answering = self.answering(endpoint, body.get("model"), encoded)
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
        try:
            self._home.enter()
        except DoublewordBatchError as error:
            raise as_sdk_error(self, error, self.url_of(options.url)) from error
        if not self._gathered.engine.settings.base_url:
            self.base_url, self.api_key = await self._gathered.engine.ask(local_address)
        return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)

    def _new_gathering(self, settings: "Settings", plan: Plan) -> _Gathered:
        """An engine whose requests carry what the SDK's own would."""
        named = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        headers = {**named, **self._custom_headers}
        names = {name.lower() for name in self._custom_headers}
        is_carried = (
            credentials.has_own_credentials(self)
            or self._has_callers_http
            or bool(self._custom_query)
            or "authorization" in names
        )
        if is_carried:
            from doubleword_batch.batch_openai.sdk_transport import SdkCarrier, sdk_options_of

            options = sdk_options_of(
                self,
                default_headers=self._custom_headers,
                default_query=self._custom_query,
                http_client=self._client if self._has_callers_http else None,
            )
            base_url, is_local = str(self.base_url), settings.provider == "local"
            carrier = SdkCarrier(self._home, base_url, options, is_local=is_local)
            connection = Connection(custom_transport=carrier)
        else:
            texts = {name: value for name, value in headers.items() if isinstance(value, str)}
            connection = Connection(headers=texts)
        return _Gathered(Engine(settings, plan, connection), is_carried=is_carried)

    def url_of(self, path: str) -> str:
        """Where a live call of that path or endpoint would go."""
        return str(self.base_url).rstrip("/") + "/" + path.removeprefix("/v1").lstrip("/")


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
