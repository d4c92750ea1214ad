"""The table of claims beside measurements, and what is published of a training."""

import json
from pathlib import Path
from typing import Any

import pytest

from advbench.catalog.zoo import DATA, FOLDER, ZOO
from advbench.maintenance import zoo_report
from advbench.maintenance.zoo_report import publish, report, verdict


def score(accuracy: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"accuracy": accuracy, "n": 1000, "low": low or accuracy - 0.01, "high": high or accuracy + 0.01}


def card(name: str, accuracy: float, robust: float | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "data": DATA[ZOO[name].data].title,
        "parameters": 1234,
        "classes": {label: {"support": 100.0 * n} for n, label in enumerate(DATA[ZOO[name].data].classes, 1)},
        "training": {"epochs": 3},
        "seconds": 61.0,
        "clean": score(accuracy),
        "robust": robust and {**score(robust), "norm": "linf", "eps": "0.3", "attack": "APGD"},
        "images": {"train_source": "cifar10-train-jpeg.npz", "test_source": "cifar10-test-jpeg.npz"},
        "weights_file": f"{name}.safetensors",
        "weights_sha256": "ab",
    }


def judged(name: str, **cards: dict[str, Any]) -> str:
    return verdict(ZOO[name], {other: {} for other in ZOO} | cards)


def test_a_figure_is_reached_if_it_lies_within_the_interval_or_below() -> None:
    assert judged("mnist_convnet", mnist_convnet=card("mnist_convnet", 0.985)) == "reached"
    assert judged("mnist_convnet", mnist_convnet=card("mnist_convnet", 0.97)) == "missed"


def test_relations_between_models() -> None:
    good, bad, same = card("lenet", 0.99), card("lenet_scrambled", 0.9), card("lenet_scrambled", 0.99)
    assert judged("lenet_scrambled", lenet=good, lenet_scrambled=bad) == "reached"
    assert judged("lenet_scrambled", lenet=good, lenet_scrambled=same) == "missed"
    assert judged("mlp_scrambled", mlp_mnist=good, mlp_scrambled=same) == "reached"
    assert judged("lenet_scrambled", lenet_scrambled=bad) == "lenet is not trained"


@pytest.mark.parametrize(("robust", "said"), [(0.93, "reached"), (0.89, "missed"), (None, "missed")])
def test_bars_of_robust_models(robust: float | None, said: str) -> None:
    found = judged("mnist_convnet_robust", mnist_convnet_robust=card("mnist_convnet_robust", 0.98, robust))
    assert found.partition(":")[0] == said


def test_a_forest_that_was_cut_says_what_it_would_reach() -> None:
    found = judged("gray_forest", gray_forest=card("gray_forest", 0.38) | {"grown_out": score(0.415)})
    assert found.endswith("below 5 MB; grown out, the same forest reaches 41.5 % (40.5 to 42.5, n = 1,000)")


def test_the_page_has_a_row_for_every_model(tmp_path: Path) -> None:
    (tmp_path / "lenet.json").write_text(json.dumps(card("lenet", 0.99, 0.01)))
    page = report(tmp_path)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows[1:]] == list(ZOO)
    assert (
        "| lenet | MNIST | 1,234 | - | 99.0 % (98.0 to 100.0, n = 1,000) "
        "| linf 0.3: 1.0 % (0.0 to 2.0, n = 1,000) | 3 | 61 |  |" in page
    )
    assert "compressed as JPEG" in page
    assert page.count("not trained") == len(ZOO) - 1


def test_two_classes_are_held_against_one_answer_to_everything(tmp_path: Path) -> None:
    (tmp_path / "smile_cnn_robust.json").write_text(json.dumps(card("smile_cnn_robust", 0.86, 0.7)))
    assert report(tmp_path).count("answering `smile` to every image reaches 66.7 %") == 1


def test_a_recipe_that_was_tried_on_other_images_is_not_published(tmp_path: Path) -> None:
    folder = tmp_path / "trained" / "lenet"
    folder.mkdir(parents=True)
    (folder / "lenet.json").write_text(json.dumps(card("lenet", 0.9) | {"data": "Fashion-MNIST"}))
    assert publish(tmp_path / "trained", tmp_path / "package") == []


def test_large_weights_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("lenet", 10), ("cifar10_cnn", 30)):
        folder = tmp_path / "trained" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.json").write_text(json.dumps(card(name, 0.9)))
        (folder / f"{name}.safetensors").write_bytes(bytes(size))
    monkeypatch.setattr(zoo_report, "LARGEST", 20)
    assert publish(tmp_path / "trained", tmp_path / "package") == ["lenet", "cifar10_cnn"]
    written = {file.name for file in (tmp_path / "package").iterdir()}
    assert written == {"lenet.json", "lenet.safetensors", "cifar10_cnn.json"}
    assert json.loads((tmp_path / "package" / "cifar10_cnn.json").read_text())["weights_sha256"] is None


def test_weights_from_images_without_a_licence_are_not_published(tmp_path: Path) -> None:
    folder = tmp_path / "trained" / "smile_cnn"
    folder.mkdir(parents=True)
    (folder / "smile_cnn.json").write_text(json.dumps(card("smile_cnn", 0.9)))
    (folder / "smile_cnn.safetensors").write_bytes(b"weights")
    publish(tmp_path / "trained", tmp_path / "package")
    assert [file.name for file in (tmp_path / "package").iterdir()] == ["smile_cnn.json"]
    assert not any(ZOO[name].data == "smiles" for name in ZOO if (FOLDER / f"{name}.safetensors").exists())


def test_a_precision_is_reached_or_has_its_price() -> None:
    found = card("smile_cnn", 0.93)
    found["classes"] = {"smile": {"precision": 0.87}}
    found["at_precision"] = {"0.98": {"recall": 0.5, "accuracy": 0.86}}
    said = "accuracy reached, with precision 0.87; a threshold for precision 0.98 has recall 0.50 and accuracy 86.0 %"
    assert judged("smile_cnn", smile_cnn=found) == said
    found["classes"]["smile"]["precision"] = 0.99
    assert judged("smile_cnn", smile_cnn=found) == "reached"


def test_the_published_page_is_what_the_cards_say() -> None:
    published = Path(__file__).parents[2] / "reports" / "zoo" / "README.md"
    assert published.read_text(encoding="utf-8") == report()
