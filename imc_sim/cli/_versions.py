"""Versions of what is installed, without importing any of it."""

from __future__ import annotations

from importlib import metadata


def version(distribution: str) -> str:
    """The installed version of a distribution, or `not installed`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
