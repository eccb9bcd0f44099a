"""`chat.completions.create` without the SDK's walk through its own parameter types.

That walk takes about three quarters of the SDK's time for a call and changes nothing in a body
that is plain JSON. A call with anything else takes the SDK's own way, and so do all its errors.
"""

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pydantic
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions
from openai.types.chat import ChatCompletion

from doubleword_batch.batch_openai.errors import as_sdk_error
from doubleword_batch.errors import DoublewordBatchError

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.client import BatchOpenAI

_ENDPOINT = "/v1/chat/completions"
_plain_json = json.JSONEncoder(
    # A circle ends in a RecursionError, at no cost for all the others.
    check_circular=False,
    ensure_ascii=False,
    separators=(",", ":"),
    allow_nan=False,
)
_LONG_WAY = frozenset(
    {"extra_body", "extra_headers", "extra_query", "stream", "stream_options", "timeout"}
)


class BatchCompletions(AsyncCompletions):
    """The SDK's chat completions with a short way for plain calls."""

    _client: "BatchOpenAI"  # pyright: ignore[reportIncompatibleVariableOverride]

    async def create(self, **params: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # the SDK's many overloads describe it
        """As the SDK's."""
        is_plain = "model" in params and "messages" in params and _LONG_WAY.isdisjoint(params)
        body = _plain_body(params) if is_plain else None
        if body is None:
            return cast("Any", await super().create(**params))
        try:
            answer = await self._client.answering(_ENDPOINT, params["model"], body)
        except DoublewordBatchError as error:
            url = self._client.url_of(_ENDPOINT)
            raise as_sdk_error(self._client, error, url) from error
        try:
            return ChatCompletion.__pydantic_validator__.validate_json(answer.body)
        except pydantic.ValidationError:
            # An error of the provider; or what does not fit the SDK's types, taken as it is.
            return await self._client.built("/chat/completions", ChatCompletion, answer)


def _plain_body(params: dict[str, Any]) -> bytes | None:
    """The body of a call whose parameters are plain JSON; None for any other.

    Whatever stands in it is then written, or refused in its own words, by the SDK.
    """
    try:
        return _plain_json.encode(params).encode()
    except (TypeError, ValueError, RecursionError):
        return None


class BatchChat(AsyncChat):
    """The SDK's chat with those completions."""

    @cached_property
    def completions(self) -> BatchCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower
        """As the SDK's."""
        return BatchCompletions(self._client)
