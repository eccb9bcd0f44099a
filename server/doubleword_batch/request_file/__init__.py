"""Rows into request files, and request files checked: synchronous, streaming, in flat memory."""

from doubleword_batch.request_file.build import Built, SkippedRow, build_request_files
from doubleword_batch.request_file.custom_ids import custom_id_for, row_of
from doubleword_batch.request_file.inline_rows import write_rows
from doubleword_batch.request_file.parts import Part
from doubleword_batch.request_file.report import Problem, ProblemGroup, Report
from doubleword_batch.request_file.rows import Source
from doubleword_batch.request_file.sources import open_source
from doubleword_batch.request_file.spec import RequestSpec
from doubleword_batch.request_file.template import Template
from doubleword_batch.request_file.validate import validate_request_file

__all__ = [
    "Built",
    "Part",
    "Problem",
    "ProblemGroup",
    "Report",
    "RequestSpec",
    "SkippedRow",
    "Source",
    "Template",
    "build_request_files",
    "custom_id_for",
    "open_source",
    "row_of",
    "validate_request_file",
    "write_rows",
]
