"""Data sets of the Hugging Face hub where the package datasets is not installed."""

import sys

import pytest

from advbench.datasets import load_dataset
from advbench.errors import UserError


def test_it_says_what_to_install_and_what_to_do_meanwhile(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r'need the package datasets.*\npip install "advbench\[hf\]"; meanwhile: `parquet`'
    ):
        load_dataset("hf/cifar10")
