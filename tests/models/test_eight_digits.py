"""The network with eight labels that the package carries."""

import torch

from advbench import load_dataset, load_model
from advbench.catalog import MODELS
from advbench.catalog.zoo import FOLDER, read_card
from advbench.datasets.labels import truth_tensor
from advbench.evaluation.checks.data import check_data
from advbench.evaluation.checks.model import check_model


def test_it_finds_the_digits_and_raises_no_flag():
    model, data = load_model("eight_digits"), load_dataset("eight-digits")
    x = torch.stack([model.preprocess(data.read(number)) for number in range(200)])
    labels = truth_tensor(data.label_sets[:200], 8)
    right = (model.labels_on(model(x)) == labels).all(1)
    assert right.float().mean() > 0.9
    assert check_data(model, x, labels, dataset="eight-digits") == []
    assert check_model(model, x[:16], labels[:16], dataset="eight-digits") == []


def test_its_file_is_small_and_its_card_says_what_it_is():
    assert (FOLDER / "eight_digits.safetensors").stat().st_size < 300_000
    card = MODELS["eight_digits"]
    assert (card.several, card.classes, card.data) == (True, 8, "eight digits")
    assert read_card("eight_digits")["clean"]["accuracy"] > 0.93
