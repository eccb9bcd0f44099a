"""Answers where a schema was asked for, each with what it is worth.

The package and the skill's scripts hold the same answers against the same schemas.
"""

import json

LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "number"}},
    "required": ["label"],
}
GOOD = '{"label":"good"}'

# A text, and the outcome and cause of it under LABEL.
TEXTS = {
    "alone": (GOOD, "ok", None),
    "in a fence": (f"```json\n{GOOD}\n```", "ok", "fenced"),
    "in a fence without a name": (f"```\n{GOOD}```", "ok", "fenced"),
    "in a fence that does not end": (f"```json\n{GOOD}", "ok", "fenced"),
    "in a fence behind words": (f"Here you are:\n```json\n{GOOD}\n```\nBye.", "ok", "fenced"),
    "after thoughts": (f"<think>good or {{bad}}?</think>\n{GOOD}", "ok", "think_prefix"),
    "after thoughts that only end": (f"good or bad?</think>{GOOD}", "ok", "think_prefix"),
    "after thoughts, in a fence": (f"<think>?</think>```json\n{GOOD}\n```", "ok", "think_prefix"),
    "in two fences": (f"```\n{GOOD}\n```\n```\n{GOOD}\n```", "invalid", "schema"),
    "in a fence, and wrong": ('```json\n{"label":"odd"}\n```', "invalid", "schema"),
    "thoughts that never end": ("<think>good or bad", "invalid", "schema"),
    "in a fence after thoughts that never end": (
        f"<think>?\n```json\n{GOOD}\n```",
        "ok",
        "fenced",
    ),
    "NaN": ('{"label":"good","score":NaN}', "invalid", "schema"),
    "half a pair": (r'{"label":"good","x":"\ud83d"}', "ok", None),
    "words": ("good", "invalid", "schema"),
    "deep": ("[" * 5000 + "]" * 5000, "invalid", "schema"),
}


def _of(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


_TREE = {
    "type": "object",
    "properties": {"of": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "additionalProperties": False,
}

# A schema, an answer that fits, and answers that do not, with the place and keyword that say why.
SCHEMAS = {
    "an array's items": (
        _of(tags={"type": "array", "items": {"type": "string"}, "maxItems": 2}),
        {"tags": ["a", "b"]},
        {"tags/1 breaks 'type' of the schema": {"tags": ["a", 7]},
         "tags breaks 'maxItems' of the schema": {"tags": ["a", "b", "c"]}},
    ),
    "an object inside": (
        _of(who=_of(name={"type": "string", "minLength": 1}, age={"type": ["integer", "null"]})),
        {"who": {"name": "A", "age": None}},
        {"who breaks 'required' of the schema": {"who": {"name": "A"}},
         "who/name breaks 'minLength' of the schema": {"who": {"name": "", "age": 1}},
         "who/age breaks 'type' of the schema": {"who": {"name": "A", "age": 1.5}}},
    ),
    "a range": (
        _of(stars={"type": "integer", "minimum": 1, "maximum": 5}),
        {"stars": 5.0},
        {"stars breaks 'maximum' of the schema": {"stars": 6},
         "stars breaks 'minimum' of the schema": {"stars": 0},
         "stars breaks 'type' of the schema": {"stars": True}},
    ),
    "one of several": (
        _of(value={"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[A-Z]{3}$"}]}),
        {"value": "EUR"},
        {"value breaks 'anyOf' of the schema": {"value": "EUR\n"}},
    ),
    "a schema by its name": (
        {**_TREE, "$defs": {"tree": _TREE}},
        {"of": [{"of": [{}]}]},
        {"of/0/of/0 breaks 'additionalProperties' of the schema": {"of": [{"of": [{"x": 1}]}]},
         "of/0 breaks 'type' of the schema": {"of": [[]]}},
    ),
    "true is not 1": (
        _of(sure={"const": True}, count={"enum": [1, 2]}),
        {"sure": True, "count": 2.0},
        {"sure breaks 'const' of the schema": {"sure": 1, "count": 1},
         "count breaks 'enum' of the schema": {"sure": True, "count": True}},
    ),
    "what goes together": (
        {**_of(kind={"type": "string"}),
         "if": {"properties": {"kind": {"const": "other"}}}, "then": {"required": ["why"]}},
        {"kind": "other", "why": "so"},
        {"the answer breaks 'required' of the schema": {"kind": "other"}},
    ),
}  # fmt: skip

# Answers that only the package holds against all of their schema, and what the scripts say of them.
BEYOND_SCRIPTS = {
    "pattern": (_of(x={"type": "string", "pattern": "^(a|aa)+$"}), {"x": "a"}),
    "unevaluatedProperties": ({"type": "object", "unevaluatedProperties": False}, {}),
}


def line_of(answer, custom_id="r1"):
    """A result line whose answer is this text, or this value as JSON."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    response = {"status_code": 200, "body": {"choices": [choice]}}
    return json.dumps({"custom_id": custom_id, "response": response}).encode()


EVERY_SCHEMA = [
    (schema, answer, "invalid" if message else "ok", message)
    for schema, fits, others in SCHEMAS.values()
    for message, answer in [("", fits), *others.items()]
]
"""Schema, answer, outcome and message of each of them."""
