"""Mistakes with data sets that ruin numbers silently, as a run finds them."""

from pathlib import Path

import numpy as np
import pytest

import advbench
from advbench.datasets import load_dataset
from advbench.datasets.embedded import embedded_batch
from advbench.datasets.trained_on import file_beside
from advbench.models.sources import zoo


def run(path, model="lenet", **more):
    suite = {
        "name": "x", "models": model, "datasets": {"name": "arrays", "path": str(path)}, "attacks": "fgsm",
        "eps": {"linf": 0.1}, "noise": False, "images": 64,
    }  # fmt: skip
    done = advbench.run(suite | more, out=path.with_suffix(""))
    return {flag.id: flag for flag in done.analysis.flags}


def saved(path, change=lambda labels: labels, count=64):
    batch = embedded_batch("mnist", count)
    pixels = (batch.x * 255).round().byte().numpy()
    np.savez(path, x=pixels, y=change(batch.y.numpy()))
    return path


def test_a_healthy_set_raises_none_of_the_data(tmp_path):
    assert not [name for name in run(saved(tmp_path / "x.npz")) if name.startswith("D")]


def test_labels_that_do_not_fit(tmp_path):
    found = run(saved(tmp_path / "x.npz", lambda labels: (labels + 1) % 10))["D1"]
    assert (found.severity, found.model, found.dataset) == ("E", "lenet", "arrays")


def test_copies_are_found_in_the_whole_set_and_not_among_the_first_alone(tmp_path):
    batch = embedded_batch("mnist", 100)
    pixels = (batch.x * 255).round().byte().numpy()
    np.savez(tmp_path / "x.npz", x=np.concatenate([pixels, pixels[:10]]), y=np.tile(batch.y.numpy(), 2)[:110])
    found = run(tmp_path / "x.npz", images=110)["D5"]
    assert found.message == "10 of 110 images are duplicates (9.1%)"


def test_images_of_the_training_are_found_by_the_file_beside_the_weights(tmp_path):
    weights = tmp_path / "net.safetensors"
    weights.write_bytes((Path(zoo.__file__).parents[1] / "zoo" / "lenet.safetensors").read_bytes())
    data = load_dataset("mnist")
    model = advbench.load_model("lenet")
    ids = [advbench.datasets.images.ids.sample_id(model.preprocess(data.read(number))) for number in range(5)]
    file_beside(weights).write_text("\n".join(ids))
    found = run(saved(tmp_path / "x.npz"), model={"name": "lenet", "weights": str(weights)})["D6"]
    assert found.message == "the model was trained on 5 of the 64 images (7.8%)"


@pytest.mark.parametrize("missing", [True, False])
def test_pictures_that_cannot_be_read_are_passed_over(missing, tmp_path):
    folder = tmp_path / "val"
    data = load_dataset("mnist")
    for number in range(32):
        (folder / str(data.labels[number])).mkdir(parents=True, exist_ok=True)
        data.read(number).save(folder / str(data.labels[number]) / f"{number}.png")
    if missing:
        next(folder.rglob("*.png")).write_bytes(b"no picture")
    named = {"name": "folder", "path": str(folder)}
    assert not [name for name in run(tmp_path / "x.npz", datasets=named) if name.startswith("D")]
