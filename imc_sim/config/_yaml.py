"""Strict YAML: no duplicate keys, numbers and words as a person means them.

PyYAML follows YAML 1.1: `5e-5` is a string there, `no` is False, and the last of two equal keys wins in
silence. Here `5e-5` is a number, `no` a string, and a duplicate key an error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from imc_sim._errors import InputError


def _integer(loader: yaml.SafeLoader, node: Any) -> int:
    return int(loader.construct_scalar(node))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 booleans and numbers and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                where = f"{self.name}, line {line}"
                got = f"a second {key!r} (first in line {seen[key]})"
                raise InputError(where, got, "each key once", "Remove one of the two.")
            seen[key] = line
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag.rsplit(":", 1)[1] not in {"bool", "float", "int", "timestamp"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER_STARTS = list("-+0123456789.")
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), _NUMBER_STARTS)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))$"),
    _NUMBER_STARTS,
)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str, where: str = "<text>") -> dict[str, Any]:
    """The mapping that `text` holds. `where` names the source in errors."""
    loader = _StrictLoader(text)
    loader.name = where
    try:
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        raise InputError(where, " ".join(str(error).split()), "YAML", "Mend the syntax at that place.") from error
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise InputError(where, type(data).__name__, "a mapping of keys to values", "Start the file with `name: …`.")
    return data


def parse_setting(setting: str) -> tuple[str, Any]:
    """The path and the value of `path=value`, the value read as YAML."""
    path, equals, text = setting.partition("=")
    if not equals or not path.strip():
        raise InputError("--set", repr(setting), "path=value", "For example --set task.episodes=50.")
    return path.strip(), parse_yaml(f"value: {text}", where=f"--set {path.strip()}")["value"]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that the file at `path` holds."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), str(error), "a readable UTF-8 file", "Check the path and its rights.") from error
    return parse_yaml(text, str(path))


def write_yaml(data: dict[str, Any]) -> str:
    """`data` as YAML text in the order given; reading it back gives the same values."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """SafeDumper whose plain scalars are read back by the strict loader as what they were; numbers stand in rows."""

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        numbers = bool(data) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=numbers)


_Dumper.yaml_implicit_resolvers = _StrictLoader.yaml_implicit_resolvers
for _kind in (list, tuple):
    _Dumper.add_representer(_kind, _Dumper.represent_list)
