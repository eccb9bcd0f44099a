"""The scripts read a batch's status, errors and lists as the package does."""

import pytest

from doubleword_batch.models import Batch, ModelList, Page
from skill.places import script_module

batch_status = script_module("batch_status")
ScriptError = script_module("cli").ScriptError
IncompleteListError = script_module("errors").IncompleteListError
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


LISTS = ("data", "batches", "files", "models", "items")


@pytest.mark.parametrize("name", LISTS)
def test_a_page_is_read_whatever_its_list_is_called(name):
    page = {name: [{"id": "a"}, None, {"name": "x"}], "has_more": False}
    assert [batch.id for batch in Page[Batch].model_validate(page).data] == ["a"]
    assert batch_status.objects_of(page) == [{"id": "a"}, {"name": "x"}]


@pytest.mark.parametrize("page", [{}, {"id": "a"}, {"data": {"id": "a"}}, {"items": None}])
def test_what_has_no_list_is_not_an_empty_page(page):
    with pytest.raises(ValueError, match="data"):
        Page[Batch].model_validate(page)
    with pytest.raises(ScriptError, match="contains no list"):
        batch_status.objects_of(page)


GOOD = {"id": "good"}
ENTRIES = (
    None, 5, True, "text", " ", [], [GOOD], {}, {"name": "n"}, {"id": None, "name": "n"},
    {"id": {}, "name": "n"}, {"id": {"id": "x"}}, {"id": ["a", "b"]}, {"id": ["a"]}, {"id": 7},
    {"id": True}, {"id": 1.5}, {"id": " "}, {"id": "x", "created": "?", "owned_by": [1]}, GOOD,
    {"id": "x" * 513}, {"id": "x" * 512}, {"id": "x" * 513, "name": "n"},
)  # fmt: skip


@pytest.mark.parametrize("name", ["data", "models"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_odd_entry_of_a_list_of_models_costs_none_of_the_others(entry, name):
    alone, among = {name: [entry]}, {name: [{"name": "m"}, entry, "t"]}
    models = [model.id for model in ModelList.model_validate(alone).data]
    assert [model.id for model in ModelList.model_validate(among).data] == ["m", *models, "t"]
    assert batch_status.models_of(alone) == models
    assert batch_status.models_of(among) == ["m", *models, "t"]


def test_models_without_an_id_go_by_their_name():
    page = {"models": [{"name": "m-1"}, {"name": "m-2", "object": "model"}, {}]}
    assert [model.id for model in ModelList.model_validate(page).data] == ["m-1", "m-2"]


class WithoutEnd:
    """A server whose list never ends; the time of an entry goes up or down."""

    def __init__(self, step_seconds):
        self._step_seconds = step_seconds

    def get(self, _path, *, limit, after="0"):
        numbers = range(int(after) + 1, int(after) + limit + 1)
        entries = [
            {"id": str(number), "created_at": 2e9 + number * self._step_seconds}
            for number in numbers
        ]
        return {"data": entries, "has_more": True}


def test_a_list_without_an_end_is_read_as_far_as_what_is_looked_for_may_be(monkeypatch):
    monkeypatch.setattr(batch_status, "_MOST_LISTED", 1_000)
    upwards, downwards = WithoutEnd(3600), WithoutEnd(-3600)
    assert len(list(batch_status.entries_since(upwards, "/batches", {}, None))) == 300
    assert len(list(batch_status.entries_since(downwards, "/batches", {}, 2e9))) == 300
    week_ago = 2e9 - 500 * 3600
    assert len(list(batch_status.entries_since(downwards, "/batches", {}, week_ago))) == 525
    for endless, since in ((upwards, 2e9), (downwards, 0)):
        with pytest.raises(IncompleteListError, match="more than 1,000 entries"):
            list(batch_status.entries_since(endless, "/batches", {}, since))
