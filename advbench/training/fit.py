"""The training loop: from a recipe and a data set to a trained network, with a checkpoint after each epoch."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advbench.errors import UserError
from advbench.models.networks.new_top import PRETRAINED
from advbench.training.adversarial import COLLAPSE, adversarial_loss, eps_at, guard_accuracy, one_answer
from advbench.training.checkpoint import read_checkpoint, read_progress, write_checkpoint
from advbench.training.data.augment import augmented
from advbench.training.data.sets import Images, in_parts, units
from advbench.training.recipes import Adversarial, Recipe
from attacks.searches.draws import derive
from attacks.standins.fast import computes_bfloat16

GUARDED = 500
"""Number of training images on which the guard attacks."""
_LATELY = 50
"""Number of last batches of an epoch that the guard compares with."""
_RISE = 0.2
"""Fraction of the training over which the learning rate rises."""
_CALMER = 0.5
"""Factor of the learning rate after the network collapsed to a single predicted class."""
_GENTLE = 0.1
"""Factor of the learning rate for pretrained layers."""

Progress = Callable[[str, int, int], None]
"""Function called with the current activity, the steps done, and the steps in all."""


class Epoch(NamedTuple):
    """Measurements after an epoch: one row of the learning curves."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    """Mean cross-entropy on training images, in eval mode, clean."""
    train_accuracy: float
    """Accuracy on as many training images as there are test images."""
    test_loss: float
    """Mean cross-entropy on the test set."""
    test_accuracy: float
    """Accuracy on the test set; an image with several labels counts if all of them are right."""
    guard_accuracy: float | None
    """Accuracy under the guard's attack on training images, at the current eps; None without adversarial
    training."""
    undone: bool
    """Whether the guard saw the training collapse, so that the weights are those of the previous epoch: if the
    robustness was an illusion, steps are doubled; if all predictions were the same, the learning rate is halved."""
    seconds: float
    """CPU time in seconds, for training only."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training job: everything that determines its result, and the device."""

    recipe: Recipe
    """Recipe of the training."""
    train: Images
    """Training images with labels."""
    test: Images
    """Test images, measured after each epoch."""
    mean: tuple[float, ...]
    """Mean subtracted from the images, image units."""
    std: tuple[float, ...]
    """Standard deviation to divide by after that, image units."""
    seed: int = 0
    """Seed of weights, order, augmentation, dropout and random starts."""
    device: str = "cpu"
    """Device to compute on."""
    checkpoint: Path
    """Checkpoint that is written after each epoch, and resumed if it exists."""


class Trained(NamedTuple):
    """The result of a training."""

    module: nn.Module
    """Network from normalised images to logits, in eval mode, on the CPU."""
    history: list[Epoch]
    """Rows of the learning curves, one for each epoch; none for a forest."""
    seconds: float
    """CPU time in seconds, for training only."""


def fit(job: Job, build: Callable[[], nn.Module], progress: Progress = lambda *_: None) -> Trained:
    """Train a network, or continue from a checkpoint.

    The random numbers of an epoch depend only on (seed, epoch), so that an interrupted and resumed training ends with
    the same weights, bit for bit, as an uninterrupted one, on the same machine with the same number of threads.

    Args:
        job: Training to do.
        build: Function that builds the network with fresh weights; called after seeding torch.
        progress: Called after every step.

    Returns:
        The network after the last epoch.

    Raises:
        UserError: The checkpoint belongs to another training, or cannot be read or written.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        module = build().to(job.device).to(memory_format=torch.channels_last)
        run = _Run(job, module)
        for epoch in range(len(run.history), job.recipe.epochs):
            run.epoch(epoch, progress)
    module = run.module.eval().cpu().to(memory_format=torch.contiguous_format)
    return Trained(module, run.history, sum(row.seconds for row in run.history))


class _Run:
    """The state of a training."""

    def __init__(self, job: Job, module: nn.Module) -> None:
        self.job, self.module = job, module
        self.optimizer = _optimizer(job.recipe, module)
        self.adversarial = job.recipe.adversarial
        self.history: list[Epoch] = []
        self.steps = self.adversarial.steps if self.adversarial else 0
        self.pace = 1.0
        shape = (1, len(job.mean), 1, 1)
        self._mean = torch.tensor(job.mean, device=job.device).view(shape)
        self._std = torch.tensor(job.std, device=job.device).view(shape)
        if job.checkpoint.exists():
            self._resume()

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, C) of images in [0, 1]."""
        normalised = (x - self._mean) / self._std
        with torch.autocast(x.device.type, torch.bfloat16, enabled=computes_bfloat16(x.device)):
            out: Tensor = self.module(normalised.contiguous(memory_format=torch.channels_last))
        return out.float()

    def epoch(self, epoch: int, progress: Progress) -> None:
        """Train for one epoch, measure, and write the checkpoint."""
        job = self.job
        before = {key: value.clone() for key, value in self.module.state_dict().items()}
        started = time.process_time()
        self.module.train()
        torch.manual_seed(derive(job.seed, epoch))
        generator = torch.Generator().manual_seed(derive(job.seed, epoch))
        order = torch.randperm(len(job.train.y), generator=generator)
        batches = torch.split(order, job.recipe.batch_size)
        total = len(batches) * job.recipe.epochs
        accuracies = []
        for i, index in enumerate(batches):
            done = epoch * len(batches) + i
            loss, accuracy = self._step(index, done / total, generator)
            accuracies.append(accuracy)
            if i % 10 == 0:
                told = f"{job.recipe.model}: epoch {epoch + 1} of {job.recipe.epochs}"
                progress(f"{told}, loss {loss.item():.3f}, accuracy {accuracy.item():.1%}", done, total)
        seconds = time.process_time() - started
        self._close(epoch, seconds, torch.stack(accuracies[-_LATELY:]).mean().item(), before)

    def _step(self, index: Tensor, done: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One step of the optimizer; the loss and the accuracy of the batch."""
        job = self.job
        y = job.train.y[index].to(job.device)
        x = units(augmented(job.train.x[index].to(job.device), job.recipe.augment, generator))
        for group in self.optimizer.param_groups:
            group["lr"] = job.recipe.lr * rate(done) * self.pace * group["share"]
        if self.adversarial is None:
            logits = self.logits(x)
            loss = losses(logits, y).mean()
        else:
            how = replace(self.adversarial, steps=self.steps)
            loss, logits = adversarial_loss(self.logits, x, y, how, progress=done, generator=generator)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach(), right(logits.detach(), y).float().mean()

    def _close(self, epoch: int, seconds: float, learnt: float, before: dict[str, Tensor]) -> None:
        """Evaluate, undo the epoch if its robustness is an illusion, and write the checkpoint."""
        job = self.job
        self.module.eval()
        guard, undone = None, False
        if self.adversarial is not None:
            guard, undone = self._guarded(self.adversarial, epoch, learnt, before)
        train = self._measure(job.train, len(job.test.y))
        test = self._measure(job.test, len(job.test.y))
        self.history.append(Epoch(epoch + 1, *train, *test, guard, undone, seconds))
        state = {"job": _identity(job), "history": self.history, "steps": self.steps, "pace": self.pace}
        write_checkpoint(job.checkpoint, self.module, self.optimizer, state)

    def _guarded(self, how: Adversarial, epoch: int, learnt: float, before: dict[str, Tensor]) -> tuple[float, bool]:
        """The accuracy under the guard's attack, and whether the epoch was undone."""
        job = self.job
        some = torch.arange(min(GUARDED, len(job.train.y)))
        x, y = units(job.train.x[some].to(job.device)), job.train.y[some].to(job.device)
        accuracy = guard_accuracy(self.logits, x, y, eps_at(how, (epoch + 1) / job.recipe.epochs))
        if (only := one_answer(self.logits, x, y)) is not None:
            if self.pace < 1 and self.history[-1].undone:
                raise UserError(
                    f"{job.recipe.model} has learnt to predict class {only} for everything, and again at half the "
                    f"learning rate: given up in epoch {epoch + 1} of {job.recipe.epochs}",
                    hint="make it easier: smaller --eps or --lr, or more --epochs; and choose another --out",
                )
            self.pace *= _CALMER
        elif accuracy < learnt - COLLAPSE:
            self.steps *= 2
        else:
            return accuracy, False
        self.module.load_state_dict(before)
        self.optimizer = _optimizer(job.recipe, self.module)
        return accuracy, True

    @torch.no_grad()
    def _measure(self, images: Images, first: int) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on the first images."""
        loss = correct = 0.0
        for part in in_parts(images, first=first):
            x, y = (values.to(self.job.device) for values in part)
            logits = self.logits(units(x))
            loss += losses(logits, y).sum().item()
            correct += right(logits, y).sum().item()
        n = min(first, len(images.y))
        return loss / n, correct / n

    def _resume(self) -> None:
        file = self.job.checkpoint
        state = read_progress(file)
        if state["job"] != _identity(self.job):
            raise UserError(
                f"checkpoint {file} belongs to another training: {_difference(state['job'], _identity(self.job))}",
                hint="choose another folder with --out, or delete the checkpoint",
            )
        read_checkpoint(file, self.module, self.optimizer)
        self.history = [Epoch(*row) for row in state["history"]]
        self.steps, self.pace = state["steps"], state.get("pace", 1.0)  # which earlier versions did not store


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each image (N,); for several labels, the sum of their binary cross-entropies.

    Example:
        >>> losses(torch.zeros(1, 4), torch.tensor([2])), losses(torch.zeros(1, 2), torch.ones(1, 2))
        (tensor([1.3863]), tensor([1.3863]))
    """
    if y.ndim == 1:
        return nn.functional.cross_entropy(logits, y, reduction="none")
    return nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(1)


def right(logits: Tensor, y: Tensor) -> Tensor:
    """Which images are classified correctly, bool (N,); for several labels, all of them.

    Example:
        >>> right(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([True])
    """
    return logits.argmax(1) == y if y.ndim == 1 else ((logits > 0) == (y > 0)).all(1)


def rate(done: float) -> float:
    """The learning rate as a fraction of its peak, at a given progress of the training.

    Example:
        >>> [rate(done) for done in (0, 0.1, 0.2, 0.6)]
        [0.05, 0.525, 1.0, 0.5]
    """
    return 0.05 + 0.95 * done / _RISE if done < _RISE else (1 - done) / (1 - _RISE)


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    learnt = [(key, value) for key, value in module.named_parameters() if value.requires_grad]
    old = [value for key, value in learnt if key.startswith(PRETRAINED)]
    new = [value for key, value in learnt if not key.startswith(PRETRAINED)]
    parts = ((new, 1.0), (old, _GENTLE))
    groups = [{"params": values, "share": share} for values, share in parts if values]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay, fused=True
    )


def _identity(job: Job) -> dict[str, Any]:
    """The settings that must agree to resume a checkpoint, as read back from JSON."""
    labels = hashlib.sha256(torch.cat([job.train.y, job.test.y]).numpy().tobytes()).hexdigest()
    counts = {"train": len(job.train.y), "test": len(job.test.y)}
    return {**asdict(job.recipe), "seed": job.seed, **counts, "labels": labels[:8]}


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {found.get(key)} instead of {wanted[key]}" for key in wanted if found.get(key) != wanted[key]
    )
