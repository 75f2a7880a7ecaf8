"""The encodings by name, and the field of a specification that holds one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from imc_sim._errors import InputError, nearest
from imc_sim.array.encoding.base import Encoding
from imc_sim.config import build


def encodings() -> dict[str, type[Encoding]]:
    """Return all encodings by kind: those of this package, and any other subclass that has been imported.

    Returns:
        The class of each kind, in alphabetical order.
    """
    pending, found = list(Encoding.__subclasses__()), {}
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        field = cls.model_fields.get("kind")
        if field is not None:
            found[str(field.default)] = cls
    return dict(sorted(found.items()))


def _by_kind(value: Any) -> Any:
    if isinstance(value, Encoding) or not isinstance(value, dict):
        return value
    known, kind = encodings(), value.get("kind")
    if not isinstance(kind, str) or kind not in known:
        step = f"{nearest(str(kind), list(known))}Name one of these kinds."
        raise InputError("kind", "no kind" if kind is None else repr(kind), ", ".join(known), step)
    return build(known[kind], value, where="")


AnyEncoding = Annotated[SerializeAsAny[Encoding], BeforeValidator(_by_kind)]
