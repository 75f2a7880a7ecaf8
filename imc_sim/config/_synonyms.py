"""Second names of keys, which files, paths and settings may use: the terms of the field for stored names."""

from __future__ import annotations

import functools
import re
from typing import Any

from imc_sim._errors import InputError

#: second name -> the name that specifications, ids of trials and results folders use
SYNONYMS = {"adc": "converter", "backend": "engine"}
_PATH = re.compile(rf"^((?:chip\.)?(?:cost\.)?)({'|'.join(SYNONYMS)})(?=\.|$)")


@functools.lru_cache(maxsize=4096)
def stored_path(path: str) -> str:
    """Return a dotted path with stored names.

    Args:
        path: such as `chip.adc.bits`.
    """
    return _PATH.sub(lambda match: match[1] + SYNONYMS[match[2]], path)


def stored_names(data: Any, where: str) -> Any:
    """Return data of YAML with stored names, in keys and in paths of a chip that are values.

    Args:
        data: plain data.
        where: source for errors.

    Returns:
        The data; mappings are copied.

    Raises:
        InputError: a key is there under both of its names.
    """
    if isinstance(data, dict):
        found: dict[Any, Any] = {}
        for key, value in data.items():
            name = stored_path(key) if isinstance(key, str) else key
            if name in found or (name != key and name in data):
                raise InputError(where, f"{key!r} and {name!r}", "one of these names", "Remove one of the two keys.")
            found[name] = stored_names(value, where)
        return found
    if isinstance(data, list | tuple):
        return type(data)(stored_names(each, where) for each in data)
    return stored_path(data) if isinstance(data, str) and data.startswith("chip.") else data
