"""The configuration of one local server; nothing is read from the environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from doubleword_batch.local.executors.faults import Faults

ExecutorName = Literal["builtin", "simulate", "upstream"]
Dialect = Literal["doubleword", "openai"]


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """One local server.

    Attributes:
        home: the state directory; the server stores everything under `home/local`.
        executor: which executor answers the requests.
        upstream_url: base URL, with `/v1`, of the server that answers for `upstream`.
        upstream_key: that server's key; sent nowhere else, and never shown in a repr.
        model_path: a GGUF file for `builtin`; None for the downloaded one.
        concurrency: how many requests run at once; None for the executor's default.
        request_timeout_seconds: how long one attempt may take.
        max_attempts: how often a request is tried if its failures are retryable.
        port: port on 127.0.0.1; 0 for any free port.
        windows: the accepted completion windows.
        models: the only models that are answered; None for all models of the executor.
        max_requests: maximum lines of an input file.
        max_file_bytes: maximum size of an input file.
        max_request_bytes: maximum size of one request's body.
        tariffs: prices in the list of models, by model, as Doubleword writes them.
        dialect: which form of the API is used where Doubleword's and OpenAI's differ.
        faults: the faults to simulate.
    """

    home: Path
    executor: ExecutorName = "simulate"
    upstream_url: str | None = None
    upstream_key: str | None = field(default=None, repr=False)
    model_path: Path | None = None
    concurrency: int | None = None
    request_timeout_seconds: float = 600
    max_attempts: int = 5
    port: int = 0
    windows: tuple[str, ...] = ("24h", "1h")
    models: tuple[str, ...] | None = None
    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_request_bytes: int = 10_485_760
    tariffs: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    dialect: Dialect = "doubleword"
    faults: Faults | None = None

    @property
    def folder(self) -> Path:
        """Where the server keeps its data."""
        return self.home / "local"
