"""The scripts read a batch's status and errors as the package does."""

import pytest

from doubleword_batch.models import Batch
from skill.in_process import script_module

batch_status = script_module("batch_status")
STATUSES = (
    "COMPLETED", "Completed ", "succeeded", "JOB_STATE_SUCCEEDED", "PartiallyCompleted", "done",
    "CANCELED", "Stopped", "CANCELLATION_REQUESTED", "TIMEOUT_EXCEEDED", "error", "failed",
    "inProgress", "In Progress", "in-queue", "scheduling", None, 7, "",
)  # fmt: skip
ERRORS = (
    None, [], "why", ["why"], [{"message": "why"}], {"data": [{"code": "why"}]}, {"data": None},
    {"data": {"message": "why"}}, {"message": "why"}, {"object": "list", "data": []},
)  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_means_the_same_in_both(status):
    batch = {"id": "b", "status": status}
    assert batch_status.status_of(batch) == Batch.model_validate(batch).status


@pytest.mark.parametrize("errors", ERRORS)
def test_what_a_server_says_of_a_refused_batch_is_the_same_in_both(errors):
    batch = {"id": "b", "errors": errors}
    read = Batch.model_validate(batch).errors
    first = read.data[0] if read else None
    assert batch_status.first_error(batch) == ((first and (first.message or first.code)) or "")
