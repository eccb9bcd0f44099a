"""Builds request files from rows and checks them: synchronous, streaming, in constant memory."""

from doubleword_batch.requests.build import BuildResult, Sharing, build_request_files
from doubleword_batch.requests.findings import Problem, ProblemGroup, ValidationReport
from doubleword_batch.requests.keys import KEY_BYTES, RequestKeys
from doubleword_batch.requests.left_out import LeftOut
from doubleword_batch.requests.line_checks import inputs_of
from doubleword_batch.requests.lines import (
    ROW_PREFIX,
    RequestHead,
    custom_id_for,
    read_head,
    requests_of_rows,
    row_of,
)
from doubleword_batch.requests.request_files import DiskQuota, RequestFile, RequestFileWriter
from doubleword_batch.requests.row_copy import RowCopy, row_copy
from doubleword_batch.requests.spec import (
    RequestSpec,
    check_limit,
    check_params,
    model_id,
    with_numbers,
)
from doubleword_batch.requests.table_detection import refuse_table
from doubleword_batch.requests.template import Template
from doubleword_batch.requests.token_bounds import (
    DEFAULT_TOKEN_LIMIT,
    UNLIMITED_OUTPUT_TOKENS,
    bound_body,
    bound_tokens,
    with_token_limit,
)
from doubleword_batch.requests.token_estimates import estimate_file_tokens
from doubleword_batch.requests.validate import validate_request_file

__all__ = [
    "DEFAULT_TOKEN_LIMIT",
    "KEY_BYTES",
    "ROW_PREFIX",
    "UNLIMITED_OUTPUT_TOKENS",
    "BuildResult",
    "DiskQuota",
    "LeftOut",
    "Problem",
    "ProblemGroup",
    "RequestFile",
    "RequestFileWriter",
    "RequestHead",
    "RequestKeys",
    "RequestSpec",
    "RowCopy",
    "Sharing",
    "Template",
    "ValidationReport",
    "bound_body",
    "bound_tokens",
    "build_request_files",
    "check_limit",
    "check_params",
    "custom_id_for",
    "estimate_file_tokens",
    "inputs_of",
    "model_id",
    "read_head",
    "refuse_table",
    "requests_of_rows",
    "row_copy",
    "row_of",
    "validate_request_file",
    "with_numbers",
    "with_token_limit",
]
