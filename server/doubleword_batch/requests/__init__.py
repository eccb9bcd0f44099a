"""Rows into request files, and request files checked: synchronous, streaming, in flat memory."""

from doubleword_batch.requests.build import Built, SkippedRow, build_request_files
from doubleword_batch.requests.custom_ids import custom_id_for, row_of
from doubleword_batch.requests.parts import Part
from doubleword_batch.requests.report import Problem, ProblemGroup, Report
from doubleword_batch.requests.spec import RequestSpec
from doubleword_batch.requests.template import Template
from doubleword_batch.requests.validate import validate_request_file

__all__ = [
    "Built",
    "Part",
    "Problem",
    "ProblemGroup",
    "Report",
    "RequestSpec",
    "SkippedRow",
    "Template",
    "build_request_files",
    "custom_id_for",
    "row_of",
    "validate_request_file",
]
