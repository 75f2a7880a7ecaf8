"""JSON schemas of study files, chips and model cards, for editors and validators.

A schema checks keys, kinds, types, ranges and paths. Relations between values, and whether named models and chips
exist, are only checked by `imc-sim run`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from imc_sim._arguments import checked
from imc_sim.config import (
    SYNONYMS,
    Ampere,
    ElectronVolt,
    Farad,
    Hertz,
    Joule,
    Kelvin,
    Meter,
    Seconds,
    Siemens,
    SquareMeter,
    Volt,
    content_names,
)
from imc_sim.study._axes import short_forms
from imc_sim.study._paths import paths_of

Kind = Literal["study", "chip", "model"]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_UNITS = {
    Ampere: "A", Siemens: "S", Seconds: "s", Volt: "V", Kelvin: "K", ElectronVolt: "eV", Hertz: "Hz",
    Joule: "J", Farad: "F", Meter: "m", SquareMeter: "m2",
}  # fmt: skip
#: validator that converts a number with a unit -> unit
_PARSERS = {get_args(kind)[1].func: unit for kind, unit in _UNITS.items()}


class _Generator(GenerateJsonSchema):
    """Generates the schema of a YAML file, which allows some values that the specification converts."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Allow strings for numbers with a unit."""
        unit = _PARSERS.get(schema["function"]["function"])
        inner = schema["schema"]
        if unit is not None:
            pattern = rf"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*[afpnuµmkMG]?{unit}\s*$"
            text = {"type": "string", "pattern": pattern, "description": f"a number with its unit, such as 1 {unit}"}
            return {"anyOf": [self.generate_inner(inner), text]}
        return self.generate_inner(inner)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Require the key `kind`, since alternatives are not chosen by its default."""
        union = super().tagged_union_schema(schema)
        alternatives = [{**alternative, "required": ["kind"]} for alternative in union["oneOf"]]
        return {"oneOf": alternatives}


@checked
def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a kind of file.

    Args:
        kind: study, chip or model (a model card).
    """
    schema = {"study": _study, "chip": _chip, "model": _model}[kind]()
    return {"$schema": _DIALECT, **schema, "title": f"imc_sim {kind}"}


def _schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a specification, with the short forms that its YAML allows."""
    schema = TypeAdapter(kind).json_schema(schema_generator=_Generator)
    definitions = schema.get("$defs", {})
    if "Engine" in definitions:
        names = definitions["Engine"]["properties"]["kind"]["enum"]
        definitions["Engine"] = {"anyOf": [{"enum": names}, definitions["Engine"]]}
    if "Encoding" in definitions:  # any of those that are registered
        definitions["Encoding"] = _encoding(definitions)
    if "Device" in definitions:  # measured levels include HRS and LRS
        required = definitions["Device"].pop("required")
        definitions["Device"]["anyOf"] = [{"required": required}, {"required": ["table_S"]}]
    for part in (schema, *definitions.values()):  # such as `adc` for `converter`
        named = part.get("properties", {})
        part |= {"properties": named | {k: named[v] for k, v in SYNONYMS.items() if v in named}} if named else {}
    return _tidy(schema)


def _encoding(definitions: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas of all registered encodings to the definitions; return the schema of any one of them."""
    from imc_sim.array import encodings

    for kind in encodings().values():
        part = kind.model_json_schema(schema_generator=_Generator)
        definitions |= part.pop("$defs", {})
        definitions[kind.__name__] = part
    names = [kind.__name__ for kind in encodings().values()]
    return {"oneOf": [{"$ref": f"#/$defs/{name}", "required": ["kind"]} for name in names]}


def _tidy(node: Any, named: bool = False) -> Any:
    """Remove titles that only repeat the names of keys.

    Args:
        node: part of a schema.
        named: whether its keys are names of fields or definitions, of which one may be `title`.
    """
    if isinstance(node, list):
        return [_tidy(each) for each in node]
    if not isinstance(node, dict):
        return node
    inside = ("properties", "$defs")
    return {k: _tidy(v, not named and k in inside) if k != "default" else v
            for k, v in node.items() if named or k != "title" or not isinstance(v, str)}  # fmt: skip


def _named(kind: Kind, rest: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of the name or path of content, for which editors suggest the installed names."""
    choices: list[dict[str, Any]] = [{"enum": content_names(kind)}, {"type": "string"}]
    return {"anyOf": [*choices, rest] if rest else choices}


def _chip() -> dict[str, Any]:
    from imc_sim.array import Chip

    return _schema(Chip)


def _model() -> dict[str, Any]:
    from imc_sim.nn.store import ModelCard

    return _schema(ModelCard)


def _study() -> dict[str, Any]:
    """Return the schema of a study with chip, task and paths expanded, and with the keys `base` and `set`."""
    from imc_sim.evaluate import Task
    from imc_sim.study._spec import ROOTS, Study

    schema = _schema(Study)
    definitions, fields = schema["$defs"], schema["properties"]
    for name, part in (("Chip", _chip()), ("Task", _schema(Task))):
        definitions |= part.pop("$defs", {})
        definitions[name] = part
    del fields["model"]["type"]
    fields["model"] |= _named("model")
    fields["chip"] |= _named("chip", {"$ref": "#/$defs/Chip"})
    for name in ("task", "chip_task"):
        fields[name] = {"$ref": "#/$defs/Task", "description": fields[name]["description"]}
    _or(fields["memory_limit"], {"type": "string", "pattern": r"^[0-9.]+ (KB|MB|GB)$"})
    roots = {name: f"#/properties/{name}" for name in ROOTS}
    paths = paths_of(schema, roots)
    _spell_out(definitions, paths)
    fields["derived"] |= {"propertyNames": {"$ref": "#/$defs/Path"}}
    fields["skip"]["items"]["propertyNames"] = {"anyOf": [{"$ref": "#/$defs/Path"}, {"const": "case"}]}
    _add_inheritance(schema)
    return schema


def _spell_out(definitions: dict[str, Any], paths: dict[str, Any]) -> None:
    """Restrict paths to those that exist, and the values that a case sets to those that each path allows."""
    exact = {path: value for path, value in paths.items() if not path.endswith(".*")}
    inner = {"^" + p[:-1].replace(".", r"\."): v for p, v in paths.items() if p.endswith(".*")}
    open_ended = [{"type": "string", "pattern": pattern} for pattern in inner]
    definitions["Path"] = {"anyOf": [{"enum": list(exact)}, *open_ended]}
    _or(definitions["Axis"]["properties"]["values"], short_forms())
    definitions["Axis"]["properties"]["path"] |= {"$ref": "#/$defs/Path"}
    definitions["Axis"]["properties"]["also"]["items"] = {"$ref": "#/$defs/Path"}
    case = definitions["Case"]["properties"]
    definitions["Settings"] = {"properties": exact, "patternProperties": inner}
    case["set"] = {"description": case["set"]["description"], "$ref": "#/$defs/CaseSettings"}
    closed = {"type": "object", "$ref": "#/$defs/Settings", "unevaluatedProperties": False}
    definitions["CaseSettings"] = closed
    sweep = next(each for each in case["sweep"]["anyOf"] if each.get("type") == "array")
    sweep["items"] = {"$ref": "#/$defs/Path"}
    definitions["Derived"]["properties"]["path"] |= {"$ref": "#/$defs/Path"}
    definitions["Derived"] = {"anyOf": [{"$ref": "#/$defs/Path"}, definitions["Derived"]]}


def _or(field: dict[str, Any], other: dict[str, Any]) -> None:
    """Allow an alternative schema for a field, keeping its description and default."""
    prose = ("description", "default")
    field["anyOf"] = [{key: field.pop(key) for key in list(field) if key not in prose}, other]


def _add_inheritance(schema: dict[str, Any]) -> None:
    """Add `base`, `set` and changes of single axes and cases; with a base, no key but the name is required."""
    fields, definitions = schema["properties"], schema["$defs"]
    others = "|".join(key for key in fields if key not in ("model", "chip", "task", "chip_task", "engine"))
    whole_study = {"type": "object", "$ref": "#/$defs/Settings", "unevaluatedProperties": False}
    whole_study["patternProperties"] = {rf"^({others})(\.|$)": True}
    first = {
        "base": {**_named("study"), "description": "name or path of a study whose settings this one extends"},
        "set": {**whole_study, "description": "path -> value, as with --set on the command line"},
    }
    schema["properties"] = {"name": fields.pop("name"), **first, **fields}
    for key, of in (("axes", "Axis"), ("cases", "Case")):
        change = {k: v for k, v in definitions[of].items() if k != "required"}
        definitions[f"{of}Change"] = change
        entry = {"anyOf": [{"$ref": f"#/$defs/{of}Change"}, {"type": "null"}]}
        by_name = {"type": "object", "additionalProperties": entry}
        by_name["description"] = "with a base: changes of single entries by path or name; null removes an entry"
        _or(fields[key], by_name)
    whole = {"required": [key for key in schema.pop("required") if key != "name"]}
    whole["properties"] = {key: {"type": "array"} for key in ("axes", "cases")}  # type: ignore[assignment]
    schema |= {"required": ["name"], "anyOf": [{"required": ["base"]}, whole]}
