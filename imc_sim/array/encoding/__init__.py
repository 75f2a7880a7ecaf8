"""Encodings, one file per family. Every file of this folder is imported, so that a new one needs no other change."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
