"""The routes under /v1/models."""

from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.local.api.errors import openai_error
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor, RequestFailed

_CREATED = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


class ModelRoutes:
    """List and show models."""

    def __init__(self, config: LocalConfig, executor: Executor) -> None:
        self._config = config
        self._executor = executor

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{id:path}", self._show, methods=["GET"]),
            Route("/admin/api/v1/models", self._list_priced, methods=["GET"]),
        ]

    async def answers(self, model: str) -> bool:
        """Whether a request for that model is answered."""
        if self._config.models is not None:
            return model in self._config.models
        try:
            return self._executor.accepts_any_model or model in await self._ids()
        except RequestFailed:
            return True

    async def _ids(self) -> list[str]:
        if self._config.models is not None:
            return sorted(self._config.models)
        return sorted(model.id for model in await self._executor.models())

    async def _list(self, _request: Request) -> Response:
        """The real server ignores `include` here, so this one does."""
        try:
            ids = await self._ids()
        except RequestFailed:
            return _unavailable()
        return JSONResponse({"object": "list", "data": [_shown(id_) for id_ in ids]})

    async def _list_priced(self, request: Request) -> Response:
        """The list of the management API, with prices where `include` names them."""
        try:
            ids = await self._ids()
        except RequestFailed:
            return _unavailable()
        is_priced = "pricing" in request.query_params.get("include", "").split(",")
        tariffs = self._config.tariffs or {}
        data = [
            {"id": str(uuid5(NAMESPACE_URL, id_)), "alias": id_, "model_name": id_}
            | ({"tariffs": list(tariffs.get(id_, ()))} if is_priced else {})
            for id_ in ids
        ]
        return JSONResponse({"data": data, "total_count": len(data), "skip": 0, "limit": len(data)})

    async def _show(self, request: Request) -> Response:
        """Show one model; the real server has no such route and answers 400."""
        try:
            ids = await self._ids()
        except RequestFailed:
            return _unavailable()
        if request.path_params["id"] in ids:
            return JSONResponse(_shown(request.path_params["id"]))
        return openai_error(
            404, "There is no such model; GET /v1/models lists them.", "model_not_found"
        )


def _shown(id_: str) -> dict[str, object]:
    return {"id": id_, "object": "model", "created": _CREATED, "owned_by": "None"}


def _unavailable() -> Response:
    return openai_error(503, "The executor does not list its models now.", "unavailable")
