"""Which tests of the attacks are quick."""

import pytest

LONG = ("standard", "thorough", "adaptive")
"""Attacks that are made of many others, each of which is tested by itself."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each test of a long attack in a norm, the first case is quick and the others are slow."""
    seen: set[tuple[str, str, str]] = set()
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        if given.get("name") not in LONG:
            continue
        case = item.nodeid.partition("[")[0], given["name"], str(given.get("norm"))
        if case in seen:
            item.add_marker(pytest.mark.slow)
        seen.add(case)
