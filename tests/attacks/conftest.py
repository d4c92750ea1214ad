"""Which tests of the attacks are quick."""

import zlib
from collections import defaultdict
from collections.abc import Hashable

import pytest
from pairwise import covering

LONG = ("standard", "thorough", "adaptive")
"""Attacks that are made of many others, each of which is tested by itself."""
LONGEST = ("thorough", "adaptive")
"""Those that begin with ``standard``."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each test over attacks, the quick cases are those in which every two values meet; the others are slow.

    An attack stands there with each of its norms and with each goal, model or shape, and each of these with each norm,
    but not all three in every combination. Of a long attack the first case in each norm is quick, of the longest the
    first case in one norm, another one in another test.
    """
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if "name" in _parameters(item) and not item.get_closest_marker("slow"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for test, cases in tests.items():
        short = [case for case in cases if _parameters(case)["name"] not in LONG]
        quick = {short[index] for index in covering([_values(case) for case in short])}
        for name in LONG:
            firsts = list(
                {_entry(case): case for case in reversed(cases) if _parameters(case)["name"] == name}.values()
            )
            one = zlib.crc32(test.encode()) % max(len(firsts), 1)
            quick |= {*(firsts[one : one + 1] if name in LONGEST else firsts)}
        for case in cases:
            if case not in quick:
                case.add_marker(pytest.mark.slow)


def _parameters(case: pytest.Item) -> dict[str, object]:
    """The values of a case by the names of its parameters."""
    return case.callspec.params if hasattr(case, "callspec") else {}


def _entry(case: pytest.Item) -> tuple[str, str]:
    """The attack of a case, and its norm where it has one."""
    given = _parameters(case)
    return str(given["name"]), str(given.get("norm"))


def _values(case: pytest.Item) -> tuple[Hashable, ...]:
    """Attack, norm, and what else there is; all cases of a test hold the same objects."""
    others = (id(value) for name, value in sorted(_parameters(case).items()) if name not in ("name", "norm"))
    return *_entry(case), *others
