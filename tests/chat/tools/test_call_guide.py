from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from enginix.chat.reply import TOOLS
from enginix.chat.tools.call_guide import answer_or_call, call_guide, functions_of
from enginix.errors import RequestError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/Node"}},
    "required": ["root"],
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/Node"}, "name": {"type": "string"}},
            "required": ["name"],
        }
    },
}


def tool(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, **({"parameters": parameters} if parameters else {}), **more}
    return {"type": "function", "function": function}


def schema(format: str, *tools: dict[str, Any], one_call: bool = True) -> Any:
    functions = functions_of(tools, strict_only=False)
    return json.loads(call_guide(format, functions, one_call=one_call).text)


def is_valid(schema: Any, value: Any) -> bool:
    return bool(jsonschema_rs.validator_for(schema).is_valid(value))


@pytest.mark.parametrize("format", sorted(TOOLS))
def test_every_format_has_a_guide_whose_calls_begin_as_the_format_does(format: str) -> None:
    guide = call_guide(format, functions_of([tool("f", CITY)], strict_only=False), one_call=True)
    assert not guide.opening or guide.opening.strip() in TOOLS[format].markers


def test_only_the_functions_there_are_can_be_called() -> None:
    held = schema("hermes-json", tool("f", CITY), tool("g", TREE))
    assert is_valid(held, {"name": "f", "arguments": {"city": "Oslo"}})
    assert not is_valid(held, {"name": "h", "arguments": {"city": "Oslo"}})
    assert not is_valid(held, {"name": "g", "arguments": {"city": "Oslo"}})


def test_references_of_a_schema_still_lead_to_its_own_definitions() -> None:
    held = schema("hermes-json", tool("f", TREE), tool("g", {**TREE, "$defs": {"Node": CITY}}))
    tree = {"root": {"left": {"name": "a"}, "name": "b"}}
    assert is_valid(held, {"name": "f", "arguments": tree})
    assert not is_valid(held, {"name": "g", "arguments": tree})
    assert is_valid(held, {"name": "g", "arguments": {"root": {"city": "Rome"}}})


def test_a_schema_that_references_its_root_keeps_its_meaning() -> None:
    nested = {"type": "object", "properties": {"inner": {"$ref": "#"}}}
    held = schema("hermes-json", tool("f", nested))
    assert is_valid(held, {"name": "f", "arguments": {"inner": {"inner": {}}}})
    assert not is_valid(held, {"name": "f", "arguments": {"inner": {"inner": 1}}})


def test_a_model_cannot_invent_properties_that_no_schema_names() -> None:
    held = schema("hermes-json", tool("f", CITY))
    assert not is_valid(held, {"name": "f", "arguments": {"city": "Oslo", "mood": "good"}})


def test_a_property_named_like_a_keyword_stays_a_property() -> None:
    odd = {"type": "object", "properties": {"properties": {"type": "object"}, "enum": CITY}}
    held = schema("hermes-json", tool("f", odd))
    arguments = {"properties": {"x": 1}, "enum": {"city": "Oslo"}}
    assert is_valid(held, {"name": "f", "arguments": arguments})


def test_other_properties_are_possible_where_the_schema_says_so() -> None:
    held = schema("hermes-json", tool("f", {**CITY, "additionalProperties": {"type": "integer"}}))
    assert is_valid(held, {"name": "f", "arguments": {"city": "Oslo", "days": 2}})


def test_a_function_without_parameters_is_called_with_none() -> None:
    held = schema("hermes-json", tool("f"))
    assert is_valid(held, {"name": "f", "arguments": {}})
    assert not is_valid(held, {"name": "f", "arguments": {"a": 1}})


@pytest.mark.parametrize("format", ["mistral", "nemotron-json"])
def test_formats_with_lists_have_one_call_or_several(format: str) -> None:
    call = {"name": "f", "arguments": {"city": "Oslo"}}
    assert is_valid(schema(format, tool("f", CITY), one_call=False), [call, call])
    assert not is_valid(schema(format, tool("f", CITY), one_call=True), [call, call])
    assert not is_valid(schema(format, tool("f", CITY), one_call=False), [])


def test_functions_that_are_not_strict_take_any_object() -> None:
    functions = functions_of([tool("f", CITY), tool("g", CITY, strict=True)], strict_only=True)
    held = json.loads(call_guide("hermes-json", functions, one_call=True).text)
    assert is_valid(held, {"name": "f", "arguments": {"a": 1}})
    assert not is_valid(held, {"name": "g", "arguments": {"a": 1}})


def test_where_calls_have_no_marker_one_schema_tells_answer_and_call_apart() -> None:
    functions = functions_of([tool("f", CITY)], strict_only=False)
    held = answer_or_call("llama3-json", functions, TREE)
    assert held is not None
    assert is_valid(json.loads(held.text), {"name": "f", "parameters": {"city": "Oslo"}})
    assert is_valid(json.loads(held.text), {"root": {"name": "a"}})
    assert not is_valid(json.loads(held.text), {"root": 1})


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/None"}}}, "'#/$defs/None', which is not in it"),
        ({"properties": {"a": {"type": "array", "minItems": 10**9}}}, "1000000000 items"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "form a cycle"),
    ],
)
def test_a_schema_that_no_grammar_can_express_is_a_request_error(
    parameters: dict[str, Any], problem: str
) -> None:
    functions = functions_of([tool("f", {"type": "object", **parameters})], strict_only=False)
    with pytest.raises(RequestError, match=problem.replace("$", r"\$")):
        call_guide("qwen3-xml", functions, one_call=True)


def test_schemas_nested_without_end_are_refused() -> None:
    nested: dict[str, Any] = {"type": "integer"}
    for _ in range(100):
        nested = {"type": "array", "items": nested}
    functions = functions_of([tool("f", {"properties": {"a": nested}})], strict_only=False)
    with pytest.raises(RequestError, match="nested deeper than 32"):
        call_guide("qwen3-xml", functions, one_call=True)


A = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"const": 2}}, "required": ["b"]}
KIND = {"kind": {"enum": ["a", "b"]}}
KINDS = {"type": "object", "properties": KIND}


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        ({"type": "object", "allOf": [A, B]}, {"a": 1, "b": 2}),
        ({**A, "allOf": [B]}, {"a": 1, "b": 2}),
        (
            {"type": "object", "allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": A}},
            {"a": 1, "b": 2},
        ),
        ({**B, "$ref": "#/$defs/A", "$defs": {"A": A}}, {"a": 1, "b": 2}),
        ({"type": "object", "properties": KIND, "oneOf": [A, B]}, {"kind": "a", "a": 1}),
        ({**A, "anyOf": [{"allOf": [B]}, {"required": ["a"]}]}, {"a": 1, "b": 2}),
        ({**A, "if": A, "then": B}, {"a": 1, "b": 2}),
        ({**A, "dependentSchemas": {"a": B}}, {"a": 1, "b": 2}),
        (
            {"allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": {"$ref": "#/$defs/C"}, "C": A}},
            {"a": 1, "b": 2},
        ),
        (
            {"allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": {"anyOf": [A, KINDS]}}},
            {"a": 1, "b": 2},
        ),
        ({**B, "$ref": "#/$defs/A/anyOf/0", "$defs": {"A": {"anyOf": [A]}}}, {"a": 1, "b": 2}),
        ({"required": ["z"], "$ref": "#/$defs/A", "$defs": {"A": A}}, {"a": 1, "z": 0}),
        ({"anyOf": [A], "$ref": "#/$defs/B", "$defs": {"B": B}}, {"a": 1, "b": 2}),
        ({"required": ["z"], "if": A, "then": B}, {"a": 1, "b": 2, "z": 0}),
        ({"required": ["z"], "anyOf": [A, B]}, {"a": 1, "z": 0}),
        ({**A, "required": ["a", "z"]}, {"a": 1, "z": 0}),
        ({**A, "anyOf": [{"required": ["y"]}, {"required": ["z"]}]}, {"a": 1, "z": 0}),
        ({**A, "allOf": [{"required": ["z"]}]}, {"a": 1, "z": 0}),
        ({**A, "if": A, "then": {"required": ["z"]}}, {"a": 1, "z": 0}),
        ({**A, "dependentSchemas": {"a": {"required": ["z"]}}}, {"a": 1, "z": 0}),
        ({**A, "minProperties": 2}, {"a": 1, "z": 0}),
        ({**A, "not": {"properties": {"a": {"const": 2}}}}, {"a": 1}),
    ],
)
def test_properties_from_several_schemas_stay_possible(
    parameters: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert is_valid(parameters, arguments)
    held = schema("hermes-json", tool("f", parameters))
    assert is_valid(held, {"name": "f", "arguments": arguments})


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "anyOf": [A, B]},
        {
            "type": "object",
            "properties": {"x": {"allOf": [{"$ref": "#/$defs/A"}]}},
            "$defs": {"A": A},
        },
        {**A, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"required": ["a"], "anyOf": [A, B]},
        {
            "required": ["a"],
            "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
            "$defs": {"A": A, "B": B},
        },
    ],
)
def test_objects_of_one_place_are_closed(parameters: dict[str, Any]) -> None:
    held = schema("hermes-json", tool("f", parameters))
    for invented in ({"a": 1, "mood": 0}, {"x": {"a": 1, "mood": 0}}):
        assert not is_valid(held, {"name": "f", "arguments": invented})


def grammar(parameters: Any, name: str = "f") -> str:
    functions = functions_of([tool(name, parameters)], strict_only=False)
    return call_guide("qwen3-xml", functions, one_call=True).text


@pytest.mark.parametrize(
    "parameters",
    [
        {"allOf": [A, B]},
        {"$ref": "#/$defs/A", **B, "$defs": {"A": A}},
        {"oneOf": [A, B]},
        {"type": "object", "properties": {"a": {}}, "required": ["b"]},
    ],
)
def test_a_grammar_has_the_parameters_of_every_part_of_a_schema(parameters: Any) -> None:
    written = grammar(parameters)
    assert "<parameter=a>" in written
    assert "<parameter=b>" in written


@pytest.mark.parametrize("keyword", ["prefixItems", "items"])
def test_a_grammar_knows_the_items_of_a_tuple_one_by_one(keyword: str) -> None:
    pair = {"type": "array", keyword: [{"const": "u"}, {"type": "boolean"}], "minItems": 2}
    written = grammar({"properties": {"x": {**pair, "maxItems": 2}}})
    assert '"\\"u\\"" item' in written
    assert '", " boolean "]"' in written


@pytest.mark.parametrize("name", ["a>b", "<a", "a\nb", " a", ""])
def test_a_name_that_a_tag_cannot_express_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="call format cannot express the name"):
        grammar({"properties": {name: {}}})


@pytest.mark.parametrize(
    "odd",
    [
        {"type": {"a": 1}},
        {"type": 5},
        {"anyOf": 5},
        {"required": 5},
        {"type": "object", "anyOf": [True]},
        {"allOf": [{"properties": 5}, {"properties": {}}]},
        {"allOf": [{"required": 5}, {"required": []}]},
    ],
)
def test_a_schema_with_odd_values_still_has_a_grammar(odd: dict[str, Any]) -> None:
    assert "<parameter=x>" in grammar({"properties": {"x": odd}})


def test_schemas_that_double_at_every_step_are_refused_soon() -> None:
    twice = {
        f"D{n}": {"properties": {}, "anyOf": [{"$ref": f"#/$defs/D{n + 1}"}] * 2} for n in range(30)
    }
    doubled = {"$defs": {**twice, "D30": {}}, "properties": {"x": {"$ref": "#/$defs/D0"}}}
    with pytest.raises(RequestError, match="cannot be enforced"):
        grammar(doubled)
    with pytest.raises(RequestError, match="cannot be enforced"):
        grammar({**doubled, "$ref": "#/$defs/D0"})


def test_a_grammar_writes_strings_verbatim_if_the_schema_says_string() -> None:
    size = {"type": "string", "enum": ["s", "m"]}
    referred = {"$defs": {"S": size}, "properties": {"x": {"allOf": [{"$ref": "#/$defs/S"}]}}}
    for parameters in (
        referred,
        {"properties": {"x": {"anyOf": [{"const": "s"}, {"const": "m"}]}}},
    ):
        assert '("s" | "m")' in grammar(parameters)
    assert ' text "' in grammar({"properties": {"x": {"description": "Anything."}}})


def test_a_string_with_no_possible_value_is_refused() -> None:
    with pytest.raises(RequestError, match="an enum without values"):
        grammar({"properties": {"x": {"enum": []}}})


@pytest.mark.parametrize(
    "parameters", [{"properties": {"a": {}}}, {"type": ["object", "null"]}, {"anyOf": [{}]}]
)
def test_arguments_are_an_object_even_if_the_schema_allows_others(parameters: Any) -> None:
    held = schema("hermes-json", tool("f", parameters))
    assert is_valid(held, {"name": "f", "arguments": {}})
    assert not is_valid(held, {"name": "f", "arguments": "text"})
    assert not is_valid(held, {"name": "f", "arguments": None})


def test_parameters_that_are_not_an_object_are_refused() -> None:
    with pytest.raises(RequestError, match="the parameters of f have type 'string'"):
        schema("hermes-json", tool("f", {"type": "string"}))


def test_two_hundred_functions_fit_into_one_grammar() -> None:
    tools = [
        tool(f"f{n}", {"properties": {f"p{n}_{m}": {"type": "integer"} for m in range(20)}})
        for n in range(200)
    ]
    text = call_guide("qwen3-xml", functions_of(tools, strict_only=False), one_call=True).text
    assert all(f"<parameter=p{n}_19>" in text for n in range(200))


def test_functions_with_the_same_parameters_share_their_rules() -> None:
    tools = [tool(f"f{n}", {"properties": {"a": {"type": "integer"}}}) for n in range(50)]
    text = call_guide("qwen3-xml", functions_of(tools, strict_only=False), one_call=True).text
    assert text.count("<parameter=a>") == 1
