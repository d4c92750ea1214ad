"""Cards are measured again: what was measured changes, all else stays."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advbench.catalog.zoo import read_card
from advbench.datasets.embedded import read_embedded
from advbench.errors import UserError
from advbench.maintenance import remeasure
from advbench.maintenance.remeasure import renewed


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A data root with 100 digits to test on."""
    found = read_embedded("mnist")
    np.savez(tmp_path / "mnist-test.npz", images=found.images[:100], labels=found.labels[:100])
    return tmp_path


@pytest.fixture
def card() -> dict[str, object]:
    """The card of a small network, as if it had been tested on those digits."""
    card = read_card("lenet")
    return card | {"images": card["images"] | {"test": 100, "test_source": "mnist-test.npz"}, "robust": None}


def test_what_is_measured_is_renewed_and_the_rest_stays(data_root: Path, card: dict[str, object]) -> None:
    found = renewed("lenet", card, data_root, attacked=20)
    assert found["clean"]["n"] == 100
    assert found["clean"]["accuracy"] > 0.95
    assert (found["robust"]["n"], found["robust"]["attack"]) == (20, "standard")
    assert sum(map(sum, found["confusion"])) == 100
    kept = ("name", "command", "seed", "training", "seconds", "epochs", "weights_sha256", "licence")
    assert all(found[key] == card[key] for key in kept)
    assert list(found) == list(card)


def test_without_an_attack_the_figure_under_attack_stays(data_root: Path, card: dict[str, object]) -> None:
    found = renewed("lenet", card | {"robust": {"accuracy": 0.25}}, data_root, attacked=0)
    assert found["robust"] == {"accuracy": 0.25}


def test_another_test_set_is_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"lenet was tested on 10,000 images of .*, and .* has 100 of mnist-test\.npz"):
        renewed("lenet", read_card("lenet"), data_root, attacked=1)


def test_the_command_writes_the_card(
    data_root: Path, card: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remeasure, "FOLDER", tmp_path / "zoo")
    monkeypatch.setattr(remeasure, "read_card", lambda name: card)
    done = CliRunner().invoke(remeasure.main, ["lenet", "--data-root", str(data_root), "--attacked", "5"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("lenet: clean")
    assert json.loads((tmp_path / "zoo" / "lenet.json").read_text())["robust"]["n"] == 5
    refused = CliRunner().invoke(remeasure.main, ["lenet", "--data-root", str(tmp_path / "nowhere")])
    assert refused.exit_code == 1
    assert "data set mnist is not in" in refused.output
