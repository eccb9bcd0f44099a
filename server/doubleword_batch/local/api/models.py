"""The route /v1/models: the executor's models, in OpenAI's shape or in Anthropic's."""

from datetime import UTC, datetime
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.local.api.replies import openai_error
from doubleword_batch.local.executors.base import Executor, RequestFailed

_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


class ModelRoutes:
    """Lists models; there is no route for a single one, as on the real server."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{id:path}", self._show, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        try:
            ids = sorted(model.id for model in await self._executor.models())
        except RequestFailed:
            return openai_error(503, "The executor does not tell its models now.", "unavailable")
        if "anthropic-version" in request.headers:
            return _anthropic_list(ids)
        created = int(_CREATED.timestamp())
        data = [
            {"id": id_, "object": "model", "created": created, "owned_by": "None"} for id_ in ids
        ]
        return JSONResponse({"object": "list", "data": data})

    async def _show(self, _request: Request) -> Response:
        return openai_error(404, "There is no such route; list the models.", "not_found")


async def known_models(executor: Executor) -> dict[str, Literal["chat", "embedding"]]:
    """The executor's models and their kinds; none when it does not tell."""
    try:
        return {model.id: model.kind for model in await executor.models()}
    except RequestFailed:
        return {}


def _anthropic_list(ids: list[str]) -> Response:
    data = [
        {"type": "model", "id": id_, "display_name": id_, "created_at": _CREATED.isoformat()}
        for id_ in ids
    ]
    page: dict[str, object] = {"data": data, "has_more": False}
    if ids:
        page |= {"first_id": ids[0], "last_id": ids[-1]}
    return JSONResponse(page)
