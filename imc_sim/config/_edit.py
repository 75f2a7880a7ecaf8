"""Change values of a YAML text in place: comments, order and layout of all else stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from imc_sim._errors import InputError
from imc_sim.config._yaml import parse_yaml, write_yaml

#: start, end and replacement of a part of a text
_Edit = tuple[int, int, str]


def edit_yaml(text: str, data: dict[str, Any]) -> str:
    """Return a YAML text that holds other values, with the comments and the order of the old text.

    Text that cannot be edited in place (aliases, for example) is written again, without comments.

    Args:
        text: the old text, a mapping.
        data: plain data that the new text holds.
    """
    edits = list(_edits(text, yaml.compose(text, Loader=yaml.SafeLoader), parse_yaml(text), data))
    found = text
    edits.reverse()  # of changes at one place, the innermost is made last
    for start, end, new in sorted(edits, key=lambda edit: -edit[0]):
        found = found[:start] + new + found[end:]
    try:
        same = parse_yaml(found) == parse_yaml(write_yaml(data))
    except InputError:
        same = False
    return found if same else write_yaml(data)


def _edits(text: str, node: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[_Edit]:
    """Yield the changes that turn the block mapping of a node into another one."""
    pairs = {key.value: (key, value) for key, value in node.value}
    for name, (key, value) in pairs.items():
        start, end = key.start_mark.index, _end(text, value, key)
        if name not in new:
            first = text.rfind("\n", 0, start) + 1
            yield first, _line_end(text, end) + 1, ""
        elif new[name] != old[name]:
            both = isinstance(old[name], Mapping) and isinstance(new[name], Mapping)
            if both and isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
                yield from _edits(text, value, old[name], new[name])
            else:
                flow = bool(getattr(value, "flow_style", False))
                yield start, end, _written(name, new[name], key.start_mark.column, flow)
    added = [name for name in new if name not in pairs]
    if added:
        key, value = node.value[-1]
        column = key.start_mark.column
        at = _after_comments(text, _line_end(text, _end(text, value, key)), column)
        lines = [" " * column + _written(name, new[name], column) for name in added]
        yield at, at, "\n" + "\n".join(lines)


def _written(name: str, value: Any, column: int, flow: bool = False) -> str:
    """Return a key with its value, to stand in a column; the first line is not indented."""
    if flow:
        return write_yaml({name: value}, one_line=True).strip().removeprefix("{").removesuffix("}")
    return write_yaml({name: value}).rstrip("\n").replace("\n", "\n" + " " * column)


def _end(text: str, node: Any, key: Any) -> int:
    """Return where the text of a value ends, without the comments and blank lines that follow it."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(text, last[1], last[0]) if isinstance(last, tuple) else _end(text, last, last)
    end = max(node.end_mark.index, key.end_mark.index + (text[key.end_mark.index : key.end_mark.index + 1] == ":"))
    return len(text[:end].rstrip())


def _after_comments(text: str, at: int, column: int) -> int:
    """Return the end of the comments that follow the end of a line, if they begin in a column or behind it."""
    while at < len(text):
        end = _line_end(text, at + 1)
        line = text[at + 1 : end]
        if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) < column:
            break
        at = end
    return at


def _line_end(text: str, at: int) -> int:
    """Return the end of a line, before its line break."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found
