"""The list of models: what a person picks from, so that one odd entry costs nobody the others."""

from typing import Any, cast

from pydantic import model_validator

from doubleword_batch.models import LISTS, LONGEST_ID, Model, Page


class ModelList(Page[Model]):
    """A page of models. A text in it is an id; what names no model is left out."""

    @model_validator(mode="before")
    @classmethod
    def _of_models_only(cls, data: Any) -> Any:
        whole = cast("Any", {"data": data} if isinstance(data, list) else data)
        if not isinstance(whole, dict):
            return whole
        fields = cast("dict[str, Any]", whole)
        named = next((name for name in LISTS if isinstance(fields.get(name), list)), None)
        if named is None:
            return fields
        found = [_model(entry) for entry in cast("list[Any]", fields[named])]
        return {**fields, named: [model for model in found if model is not None]}


def _model(entry: Any) -> Model | None:
    """A model by its id, or else by its name; None for what has neither."""
    given: Any = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict):
        return None
    fields = cast("dict[str, Any]", given)
    for named in (fields, {**fields, "id": None}):
        try:
            model = Model.model_validate(named)
        except ValueError:
            continue
        if model.id.strip() and len(model.id) <= LONGEST_ID:
            return model
    return None
