"""Parts of the training: data readers, augmentation, adversarial batches, the guard, the schedule."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import idx
from oracles import Recorder
from PIL import Image
from torch import Tensor, nn

from advbench.catalog.zoo import DATA
from advbench.errors import UserError
from advbench.training import fit as fit_module
from advbench.training.adversarial import adversarial_loss, guard_accuracy, one_answer
from advbench.training.checkpoint import read_progress
from advbench.training.data.augment import augmented
from advbench.training.data.sets import Images, load_split
from advbench.training.fit import Job, fit, rate
from advbench.training.measure import confusion, score
from advbench.training.recipes import Adversarial, Recipe

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# data


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_idx_files_where_torchvision_and_others_put_them(tmp_path: Path, folder: str) -> None:
    images, labels = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256, np.array([3, 9])
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    found = load_split("mnist", tmp_path, "test")
    assert found.x.shape == (2, 1, 28, 28)
    assert found.x.flatten().tolist() == images.flatten().tolist()
    assert found.y.tolist() == [3, 9]


def test_colours_become_grey_as_pillow_makes_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10-train.npz", images=pixels, labels=np.arange(4))
    colour, grey = (load_split(name, tmp_path, "train") for name in ("cifar10", "cifar10-grey"))
    assert colour.x.shape == (4, 3, 32, 32)
    assert torch.equal(colour.x[1].permute(1, 2, 0), torch.from_numpy(pixels[1]))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])
    assert torch.equal(grey.x[:, 0], torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 28, 28), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 784), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 30, 30), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 28, 28), np.uint8), np.array([0, 10])),
    ],
    ids=["floats", "labels", "flat", "size", "class"],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    np.savez(tmp_path / "mnist-test.npz", images=images, labels=labels)
    with pytest.raises(UserError, match=r"mnist-test\.npz"):
        load_split("mnist", tmp_path, "test")


def test_files_with_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist-test.npz", images=np.array([{"a": 1}], dtype=object), labels=np.zeros(1))
    with pytest.raises(UserError, match="allow_pickle=False"):
        load_split("mnist", tmp_path, "test")


def test_file_cut_short_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", images=np.zeros((2, 28, 28), np.uint8), labels=np.zeros(2))
    (tmp_path / "mnist-test.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-50])
    with pytest.raises(UserError, match="cannot be read"):
        load_split("mnist", tmp_path, "test")


@pytest.mark.parametrize("name", ["mnist", "smiles"])
def test_real_test_sets(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"needs the data sets in {SHARED}")
    found, data = load_split(name, SHARED, "test"), DATA[name]
    assert found.x.shape[1:] == (len(data.mean), data.side, data.side)
    assert set(found.y.tolist()) == set(range(len(data.classes)))


# augmentation


def test_shifts_move_whole_images() -> None:
    x = torch.zeros(64, 1, 16, 16)
    x[:, :, 8, 8] = 1
    moved = augmented(x, "shift", seeded())
    assert (moved.sum((1, 2, 3)) == 1).all()
    places = moved.flatten(1).argmax(1)
    assert (places // 16 - 8).abs().max() == 2
    assert len(places.unique()) > 10


def test_mirrors_half_of_the_images() -> None:
    x = torch.zeros(200, 1, 8, 8)
    x[..., :4] = 1
    mirrored = augmented(x, "flip", seeded())[:, 0, 4, 6] == 1
    assert 60 < mirrored.sum() < 140


def test_without_augmentation_nothing_is_drawn() -> None:
    x = torch.rand(2, 1, 4, 4)
    assert augmented(x, "none", seeded()) is x


# adversarial training


@pytest.mark.parametrize("method", ["fast", "trades"])
@pytest.mark.parametrize("steps", [1, 3])
def test_adversarial_batches_stay_within_eps_and_are_harder(method: str, steps: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y, recorder = torch.rand(50, 1, 4, 4), torch.randint(0, 3, (50,)), Recorder(module)
    how = Adversarial(eps=0.1, method=method, steps=steps)
    loss, found = adversarial_loss(recorder, x, y, how, progress=0.5, generator=seeded())
    assert all((each - x).abs().max() <= 0.1 + 1e-6 for each in recorder.seen)
    assert all(each.min() >= 0 and each.max() <= 1 for each in recorder.seen)
    assert nn.functional.cross_entropy(found, y) > nn.functional.cross_entropy(module(x), y)
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_eps_grows_during_the_warm_up() -> None:
    reach = []
    x, y = torch.full((20, 1, 2, 2), 0.5), torch.zeros(20, dtype=torch.int64)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for progress in (0.1, 0.2, 0.9):
        recorder = Recorder(module)
        adversarial_loss(recorder, x, y, Adversarial(eps=0.2, warmup=0.4), progress=progress, generator=seeded())
        reach.append((recorder.seen[-1] - x).abs().max().item())
    assert reach == pytest.approx([0.05, 0.1, 0.2], rel=0.05)


def test_guard_tells_robust_from_fragile() -> None:
    x = torch.cat([torch.full((10, 1, 1, 1), 0.2), torch.full((10, 1, 1, 1), 0.8)])
    y = torch.arange(20) // 10

    def logits(x: Tensor) -> Tensor:
        return torch.cat([0.5 - x.flatten(1), x.flatten(1) - 0.5], dim=1)

    assert guard_accuracy(logits, x, y, 0.1) == 1.0
    assert guard_accuracy(logits, x, y, 0.4) == 0.0
    assert guard_accuracy(logits, x, 1 - y, 0.1) == 0.0


def job_for(recipe: Recipe, images: Images, folder: Path) -> Job:
    """To train on images and test on the same ones."""
    checkpoint = folder / "checkpoint.safetensors"
    return Job(recipe=recipe, train=images, test=images, mean=(0.5,), std=(0.5,), checkpoint=checkpoint)


def test_collapse_is_undone_and_met_with_more_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, seen = iter([1.0, -0.5, 1.0]), []  # below any accuracy on the batches, and above
    monkeypatch.setattr("advbench.training.fit.guard_accuracy", lambda *_: next(told))
    whole = fit_module.adversarial_loss

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments[3].steps)
        return whole(*arguments, **options)

    monkeypatch.setattr(fit_module, "adversarial_loss", watched)
    images = Images(torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8), torch.randint(0, 3, (40,)))
    job = job_for(Recipe(model="lenet", epochs=3, adversarial=Adversarial(eps=0.1)), images, tmp_path)
    done = fit(job, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    assert [row.undone for row in done.history] == [False, True, False]
    assert done.history[1].test_loss == done.history[0].test_loss
    assert done.history[2].test_loss != done.history[0].test_loss
    assert seen == [1, 1, 2]


def faces(share: float = 0.75) -> Images:
    """Noise with labels that it says nothing about, most of them 0."""
    labels = torch.arange(80) >= 80 * share
    return Images(torch.randint(0, 256, (80, 1, 4, 4), dtype=torch.uint8, generator=seeded()), labels.long())


class Constant(nn.Module):
    """The first class, unless the weight is pushed far."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + 0 * x.flatten(1)[:, :2]


def one_sided(tmp_path: Path) -> Job:
    recipe = Recipe(model="smile_cnn_robust", epochs=4, batch_size=20, adversarial=Adversarial(eps=0.1))
    return job_for(recipe, faces(), tmp_path)


def test_one_answer_to_everything_is_no_robustness() -> None:
    x, y = torch.rand(100, 1, 2, 2), torch.arange(100) // 75
    logits = torch.tensor([1.0, 0.0]).repeat(100, 1)
    assert one_answer(lambda _: logits, x, y) == 0
    assert one_answer(lambda _: logits, x, 0 * y) is None
    logits[:2] = torch.tensor([0.0, 1.0])
    assert one_answer(lambda _: logits, x, y) is None


def test_a_training_that_falls_for_one_answer_is_undone_and_then_given_up(tmp_path: Path) -> None:
    job = one_sided(tmp_path)
    with pytest.raises(UserError, match=r"predict class 0 for everything, and again.*in epoch 2 of 4") as error:
        fit(job, Constant)
    assert "choose another --out" in error.value.hint
    left = read_progress(job.checkpoint)
    assert ([row[6] for row in left["history"]], left["pace"], left["steps"]) == ([True], 0.5, 1)
    with pytest.raises(UserError, match="in epoch 2 of 4"):
        fit(job, Constant)


def test_after_one_answer_the_learning_rate_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, rates = iter([None, 0, None, None]), []
    monkeypatch.setattr(fit_module, "one_answer", lambda *_: next(told))
    monkeypatch.setattr(fit_module, "guard_accuracy", lambda *_: 1.0)
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    done = fit(one_sided(tmp_path), Constant)
    assert [row.undone for row in done.history] == [False, True, False, False]
    expected = [2e-3 * rate(i / 16) * (0.5 if i >= 8 else 1) for i in range(16)]
    assert rates == pytest.approx(expected)


def test_guard_looks_at_the_eps_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def guard(logits: Any, x: Tensor, y: Tensor, eps: float) -> float:
        seen.append(eps)
        return 1.0

    monkeypatch.setattr(fit_module, "guard_accuracy", guard)
    images = Images(torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8), torch.randint(0, 3, (20,)))
    recipe = Recipe(model="lenet", epochs=4, adversarial=Adversarial(eps=0.2, warmup=0.5))
    job = job_for(recipe, images, tmp_path)
    fit(job, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    assert seen == pytest.approx([0.1, 0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"eps": 0}, "expected eps in"), ({"eps": 1, "steps": 0}, "expected steps"), ({"eps": 1, "warmup": 1}, "warmup")],
)
def test_impossible_adversarial_training(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversarial(**arguments)


# schedule and measurements


def test_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [rate(done / 100) for done in range(101)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == 0


def test_interval_is_wilsons() -> None:
    found = score(81, 263)  # Newcombe 1998, table I
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert score(10, 10).high == 1


def test_precision_recall_and_confusion() -> None:
    counts, report = confusion(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), ("no", "yes"))
    assert counts.tolist() == [[1, 1], [0, 2]]
    assert report["yes"]["precision"] == pytest.approx(2 / 3)
    assert report["no"]["recall"] == 0.5
    assert set(report) == {"no", "yes", "macro avg"}
