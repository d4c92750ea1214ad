"""The choice of quick cases leaves nothing out that it promises, and is a choice."""

from itertools import combinations, product

import pytest
from pairwise import covering, each_once


def pairs(cases):
    return {pair for case in cases for pair in combinations(enumerate(case), 2)}


@pytest.mark.parametrize(
    ("cases", "most"),
    [
        (list(product("abcdefgh", "123", "xyz")), 30),
        ([case for case in product("abcd", "123", "xyz") if case[:2] not in {("a", "1"), ("b", "2")}], 16),
        (list(product("abc", "12")), 6),
        ([("a",), ("b",)], 0),
        ([], 0),
    ],
)
def test_every_two_values_that_meet_at_all_meet_in_a_quick_case(cases, most):
    chosen = covering(cases)
    assert pairs([cases[index] for index in chosen]) == pairs(cases)
    assert len(chosen) <= most


@pytest.mark.parametrize(("first", "others"), [("abcdefg", [1, 2, 3]), ("ab", [1, 2, 3, 4, 5]), ("abc", [1, 2, 3])])
def test_each_value_stands_in_a_quick_case_and_all_cases_are_there(first, others):
    cases = each_once("one, other", first, others).args[1]
    assert sorted(case.values for case in cases) == sorted(product(first, others))
    quick = [case.values for case in cases if not case.marks]
    assert {one for one, _ in quick} == set(first)
    assert {other for _, other in quick} == set(others)
    assert len(quick) == max(len(first), len(others))
