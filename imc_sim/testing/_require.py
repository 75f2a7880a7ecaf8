"""The assertion of contract tests, which `python -O` does not remove."""

from __future__ import annotations


def require(condition: bool, message: str) -> None:
    """Raise AssertionError unless the condition holds.

    Args:
        condition: what a test expects.
        message: what is wrong otherwise.
    """
    if not condition:
        raise AssertionError(message)
