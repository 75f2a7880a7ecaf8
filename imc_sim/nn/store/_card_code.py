"""Check that the code that parts of a card name may run."""

from __future__ import annotations

from pathlib import Path

from imc_sim.config import check_code_in, check_trusted, is_code
from imc_sim.nn.store._card import ModelCard


def check_code_of(card: ModelCard, folder: Path, *keys: str) -> None:
    """Raise if parts of a card name code that may not run, such as that of a data set.

    Args:
        card: The card, as its file states it.
        folder: Its folder.
        *keys: Keys of the parts, such as recipe.

    Raises:
        InputError: The folder is not trusted.
    """
    where = f"model {card.name!r}"
    with card.origin.naming(where):
        if "arch" in keys and is_code(card.arch.name):  # its file runs before the name is looked up, whatever it is
            check_trusted(folder, f"{where}: arch.name")
        check_code_in({key: value for key, value in card.to_dict().items() if key in keys}, folder, where)
