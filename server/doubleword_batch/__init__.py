"""Bulk inference for AI agents over the Doubleword Batch API and compatible servers.

The names in `__all__` are the library; each is imported when it is first used, so that the server
and the command line start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doubleword_batch.api import (
        BatchClient,
        CustomTransport,
        KeyMemory,
        RetryClock,
        TransportRequest,
        TransportResponse,
    )
    from doubleword_batch.batch_openai import BatchOpenAI
    from doubleword_batch.errors import (
        ApiError,
        AuthError,
        ConfigError,
        ConflictError,
        CreditError,
        DoublewordBatchError,
        ForbiddenError,
        InputError,
        Next,
        NotFoundError,
        ProtocolError,
        RateLimitedError,
        RejectedError,
        ServerError,
        StoreError,
        TransportError,
    )
    from doubleword_batch.jobs.build_request import BuildRequest
    from doubleword_batch.jobs.replies import (
        Cancelled,
        CascadeResult,
        CascadeStage,
        Counts,
        Created,
        Deleted,
        ErrorGroup,
        Listing,
        Projection,
        QueryResult,
        Results,
        Retried,
        Sample,
        Status,
        Submitted,
        Uploaded,
        Waiting,
        WindowCost,
    )
    from doubleword_batch.library.job import Job
    from doubleword_batch.library.job_results import JobResults, TableFormat
    from doubleword_batch.library.jobs import Jobs
    from doubleword_batch.library.run import run
    from doubleword_batch.local import Faults, LocalConfig, LocalServer
    from doubleword_batch.models import Batch, CostEstimate, File, Model
    from doubleword_batch.paths import Roots
    from doubleword_batch.progress import Progress
    from doubleword_batch.providers import Profile
    from doubleword_batch.settings import Secret, Settings

__all__ = [
    "ApiError",
    "AuthError",
    "Batch",
    "BatchClient",
    "BatchOpenAI",
    "BuildRequest",
    "Cancelled",
    "CascadeResult",
    "CascadeStage",
    "ConfigError",
    "ConflictError",
    "CostEstimate",
    "Counts",
    "Created",
    "CreditError",
    "CustomTransport",
    "Deleted",
    "DoublewordBatchError",
    "ErrorGroup",
    "Faults",
    "File",
    "ForbiddenError",
    "InputError",
    "Job",
    "JobResults",
    "Jobs",
    "KeyMemory",
    "Listing",
    "LocalConfig",
    "LocalServer",
    "Model",
    "Next",
    "NotFoundError",
    "Profile",
    "Progress",
    "Projection",
    "ProtocolError",
    "QueryResult",
    "RateLimitedError",
    "RejectedError",
    "Results",
    "Retried",
    "RetryClock",
    "Roots",
    "Sample",
    "Secret",
    "ServerError",
    "Settings",
    "Status",
    "StoreError",
    "Submitted",
    "TableFormat",
    "TransportError",
    "TransportRequest",
    "TransportResponse",
    "Uploaded",
    "Waiting",
    "WindowCost",
    "run",
]

_MODULES = {
    "api": "BatchClient CustomTransport KeyMemory RetryClock TransportRequest TransportResponse",
    "batch_openai": "BatchOpenAI",
    "errors": "ApiError AuthError ConfigError ConflictError CreditError DoublewordBatchError "
    "ForbiddenError InputError Next NotFoundError ProtocolError RateLimitedError RejectedError "
    "ServerError StoreError TransportError",
    "jobs.build_request": "BuildRequest",
    "jobs.replies": "Cancelled CascadeResult CascadeStage Counts Created Deleted ErrorGroup "
    "Listing Projection QueryResult Results Retried Sample Status Submitted Uploaded Waiting "
    "WindowCost",
    "library.job": "Job",
    "library.jobs": "Jobs",
    "library.job_results": "JobResults TableFormat",
    "library.run": "run",
    "local": "Faults LocalConfig LocalServer",
    "models": "Batch CostEstimate File Model",
    "paths": "Roots",
    "progress": "Progress",
    "providers": "Profile",
    "settings": "Secret Settings",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
