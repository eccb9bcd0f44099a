"""Values made from JSON Schemas conform to them, whatever the seed."""

import json
import re
from datetime import date, datetime
from email.utils import parseaddr
from random import Random
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from doubleword_batch.local.fake_json.scalars import text_matching
from doubleword_batch.local.fake_json.values import UnusableSchemaError, conforming_value

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "up": {"$ref": "#/$defs/node"},
            },
            "required": ["name", "children", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}

SCHEMAS = {
    "empty": {},
    "label": {
        "type": "object",
        "properties": {"label": {"enum": ["a", "b"]}, "score": {"type": "number"}},
        "required": ["label", "score"],
        "additionalProperties": False,
    },
    "const": {"const": {"a": [1, None]}},
    "enum_of_many_types": {"enum": [1, "two", None, [3]]},
    "enum_narrowed_by_all_of": {"enum": [1, 2, 3], "allOf": [{"enum": [2, 3, 4]}]},
    "integers_open_bounds": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    "integers_broken_bounds": {"type": "integer", "minimum": 0.5, "maximum": 1.5},
    "negative": {"type": "integer", "maximum": -5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 100, "maximum": 110},
    "multiple_of_fraction": {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 9},
    "number_open_unit": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    "text_lengths": {"type": "string", "minLength": 30, "maxLength": 33},
    "text_one_character": {"type": "string", "minLength": 1, "maxLength": 1},
    "pattern_code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}(-(x|yz))?$"},
    "pattern_and_length": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2},
    "array_bounds": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 4},
    "array_unique": {
        "type": "array",
        "items": {"enum": [1, 2, 3]},
        "minItems": 3,
        "uniqueItems": True,
    },
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "boolean"}],
        "items": False,
        "minItems": 2,
    },
    "array_contains": {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 500}},
    "type_list": {"type": ["string", "null", "integer"]},
    "any_of_with_siblings": {
        "type": "object",
        "properties": {"kind": {"type": "string"}},
        "required": ["kind"],
        "anyOf": [
            {"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["x"]},
            {"properties": {"kind": {"const": "b"}}},
        ],
    },
    "one_of_overlapping": {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 50}]},
    "all_of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 90}, "b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "not": {"type": "integer", "minimum": 0, "maximum": 3, "not": {"enum": [0, 1, 2]}},
    "if_then_else": {
        "type": "object",
        "properties": {"country": {"enum": ["US", "FR"]}},
        "required": ["country"],
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"zip": {"type": "integer"}}, "required": ["zip"]},
        "else": {"properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    "pattern_properties": {
        "type": "object",
        "patternProperties": {"^n_[a-z]{3}$": {"type": "null"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "required_undeclared": {"type": "object", "required": ["anything"]},
    "tree": TREE,
    "defs_with_escaped_names": {
        "$defs": {"a/b": {"type": "boolean"}},
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/a~1b"}},
        "required": ["x"],
    },
    "recursive_many_optional": {
        "type": "object",
        "properties": {f"p{n}": {"$ref": "#"} for n in range(30)},
    },
    "implied_types": {"properties": {"list": {"items": {"minimum": 3}}}, "required": ["list"]},
    "true_and_false": {
        "type": "object",
        "properties": {"any": True, "none": False},
        "required": ["any"],
    },
    "a_branch_that_admits_nothing": {"anyOf": [False, {"type": "integer"}]},
    "enum_beside_a_type": {"type": "string", "enum": [1, "two", 3]},
    "enum_beside_a_bound": {"enum": [1, 5, 9], "minimum": 6},
    "few_of_many_properties": {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in "abcdefgh"},
        "required": ["g"],
        "maxProperties": 2,
    },
    "named_by_a_pattern": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{4}$"},
        "minProperties": 3,
    },
    "bounds_of_several_parts": {
        "type": "number",
        "minimum": 0,
        "allOf": [{"type": "integer", "minimum": 50}, {"maximum": 100}, {"maximum": 60}],
    },
    "integers_of_numbers": {"type": "integer", "allOf": [{"type": "number", "minimum": 7}]},
    "items_of_several_parts": {
        "type": "array",
        "minItems": 2,
        "items": {"type": "integer"},
        "allOf": [{"items": {"minimum": 50}}],
    },
    "others_of_several_parts": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"additionalProperties": {"type": "integer"}},
            {"properties": {"a": {"minimum": 5}}, "additionalProperties": False},
        ]
    },
    "lists_within_lists": {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"$ref": "#"}, True]},
    },
    "a_pattern_that_looks_ahead": {"type": "string", "pattern": "^(?!zzz)"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_value_conforms_to_its_schema(name):
    validator = Draft202012Validator(SCHEMAS[name])
    for seed in range(60):
        value = conforming_value(SCHEMAS[name], seed)
        validator.validate(json.loads(json.dumps(value, allow_nan=False)))


def test_the_same_seed_makes_the_same_value_and_another_seed_another():
    assert conforming_value(TREE, 1) == conforming_value(TREE, 1)
    assert len({json.dumps(conforming_value(TREE, seed)) for seed in range(20)}) > 10


@pytest.mark.parametrize(
    ("format_name", "check"),
    [
        ("date", date.fromisoformat),
        ("date-time", datetime.fromisoformat),
        ("uuid", UUID),
        ("email", lambda text: "@" in parseaddr(text)[1] or pytest.fail(text)),
        ("uri", lambda text: urlsplit(text).netloc or pytest.fail(text)),
    ],
)
def test_a_text_has_the_format_asked_for(format_name, check):
    for seed in range(20):
        check(conforming_value({"type": "string", "format": format_name}, seed))


ENDLESS = {
    "parts that each name another twice": {
        "$ref": "#/$defs/40",
        "$defs": {"0": {"type": "string"}}
        | {str(n): {"allOf": [{"$ref": f"#/$defs/{n - 1}"}] * 2} for n in range(1, 41)},
    },
    "objects that each hold another twice": {
        "$ref": "#/$defs/40",
        "$defs": {"0": {"type": "string"}}
        | {
            str(n): {
                "type": "object",
                "properties": {key: {"$ref": f"#/$defs/{n - 1}"} for key in "lr"},
                "required": ["l", "r"],
            }
            for n in range(1, 41)
        },
    },
    "lists of long lists": {
        "type": "array",
        "minItems": 10_000,
        "items": {"type": "array", "minItems": 10_000, "items": {"const": 1}},
    },
    "thousands of items of a thousand parts": {
        "type": "array",
        "minItems": 10_000,
        "items": {"allOf": [{"type": "string"}] * 1_000},
    },
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_schema_that_asks_for_more_than_anybody_waits_for_is_refused(name):
    with pytest.raises(UnusableSchemaError, match="more than the 100000 steps"):
        conforming_value(ENDLESS[name], 1)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nope"}, "not a JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "cannot be used"),
        ({"$ref": "#/$defs/absent"}, "cannot be used"),
        ({"$ref": "#a", "$defs": {"b": {"$anchor": "a"}}}, "not a path inside the schema"),
        ({"type": "object", "minProperties": 10**9}, "minProperties"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "forbidden"),
        ({"type": "object", "required": ["a"], "properties": {"a": False}}, "admits no value"),
        ({"type": "integer", "allOf": [{"type": "string"}]}, "no common value"),
        ({"type": "string", "pattern": r"^[^\s\S]$"}, "no value was found"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no number lies within"),
        ({"type": "array", "minItems": 10**9}, "minItems"),
        ({"type": "string", "minLength": 10**12}, "minLength"),
        ({"type": "integer", "not": {}}, "no value was found"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "comes to an end",
        ),
    ],
)
def test_a_schema_that_cannot_be_met_is_refused_with_the_reason(schema, words):
    with pytest.raises(UnusableSchemaError, match=words):
        conforming_value(schema, 0)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\d{3}-\d{2}$", r"^(foo|ba[rz])+$", r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$", r"[\w.-]+",
        r"^\+?1?$", r"^(?:a|b)*?c{2}$", r"^(?P<year>\d{4})$", r"^\u0041\x42$",
        r"^[\]\-]$", r"^a{2}b{1,3}$", r"^.$",
    ],
)  # fmt: skip
def test_a_text_is_made_for_an_ordinary_pattern(pattern):
    for seed in range(30):
        assert re.search(pattern, text_matching(pattern, Random(seed)))  # must repeat


@pytest.mark.parametrize(
    "pattern", ["(", "a)", "[", "a{", "(?=x)", r"(a)\1", "(((a{99}){99}){99}){99}"]
)
def test_a_pattern_beyond_the_ordinary_is_refused_at_once(pattern):
    with pytest.raises(ValueError, match=r"."):
        text_matching(pattern, Random(0))  # must repeat
