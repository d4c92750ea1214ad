"""The subject of an explanation: a picture, and its adversarial version."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.config.budgets import describe_norm
from advbench.datasets.images.files import read_picture
from advbench.datasets.images.ids import content_ids
from advbench.errors import UserError
from advbench.evaluation.evaluate import evaluate
from advbench.evaluation.goals import set_apart
from advbench.explain.layers import black_picture
from advbench.models.classifier import Classifier
from advbench.pictures.choice import Read, read_input
from advbench.pictures.sessions.session import open_session
from advbench.sanitize import display_name, one_line


class Subject(NamedTuple):
    """A picture as input of the model."""

    name: str
    """Name of the picture, for titles."""
    x: Tensor
    """Clean picture (1, C, H, W), in [0, 1]."""
    x_adv: Tensor | None = None
    """The adversarial picture, of the same shape as ``x``; None: only the clean one is explained."""
    how: str = ""
    """Origin of the adversarial picture."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def both(self) -> Tensor:
        """The clean picture and, if there is one, the adversarial (N, C, H, W)."""
        return self.x if self.x_adv is None else torch.cat([self.x, self.x_adv])


def read_subject(model: Classifier, path: Path, adversarial: Path | None = None, read: Read = read_picture) -> Subject:
    """Read a picture and its adversarial version.

    Args:
        model: Classifier that takes the picture.
        path: File of the picture, which is resized and cropped for the model.
        adversarial: Picture of the model's size, used unchanged; one of the same size as the picture, resized and
            cropped like it; or the exact floats that `advbench attack` writes (`adversarial.safetensors`).
        read: Function that reads the picture; differs for files and images of a data set.

    Raises:
        UserError: A file cannot be read, the sizes differ, or both pictures are the same.
    """
    x = read_input(path, model, read).to(black_picture(model).device)
    name = display_name(path.name, limit=40)
    if adversarial is None:
        return Subject(name, x.unsqueeze(0))
    floats = adversarial.suffix.lower() == ".safetensors"
    x_adv = (_floats(adversarial, x) if floats else _picture(model, path, adversarial, x, read)).to(x)
    if torch.equal(x, x_adv):
        raise UserError(f"'{display_name(adversarial)}' and '{display_name(path)}' are the same picture to the model")
    return Subject(name, x.unsqueeze(0), x_adv.unsqueeze(0), display_name(adversarial.name, limit=40))


def attack_subject(
    model: Classifier, subject: Subject, config: AttackConfig, tick: Callable[[], None] = lambda: None
) -> Subject:
    """Create the adversarial picture with an attack.

    Args:
        model: Classifier that takes the picture.
        subject: The clean picture.
        config: Attack, goal, norm, eps and seed; its paths are ignored.
        tick: Called at each forward pass of the attack.

    Raises:
        UserError: The attack failed, found nothing, or the model has no such class.
    """
    session = open_session(config, model)
    with torch.no_grad():
        logits = model(subject.x)
    goal = session.make_goal(logits, content_ids(subject.x))
    if bool(set_apart(goal, logits)):
        why = f"'{subject.name}' already has the class that the goal '{config.goal}' wants"
        raise UserError(why, hint="try another --goal")
    attack = session.attack_on(subject.x)
    result = evaluate(model, attack, subject.x, goal, eps=config.eps, seed=config.seed, on_pass=tick)
    why = result.errors.get(0, "" if result.verdicts.valid.all() else "what it returned is not within the limits")
    if not why and torch.equal(result.x_adv, subject.x):
        why = "it found nothing"
    if why:
        raise UserError(
            f"attack '{config.attack}' failed on '{subject.name}': {display_name(why, limit=200)}",
            hint="try a larger --eps, another --goal or another --attack",
        )
    return subject._replace(x_adv=result.x_adv, how=f"{config.attack} · {describe_norm(config.norm, config.eps)}")


def _floats(file: Path, x: Tensor) -> Tensor:
    """The exact values written by `advbench attack`."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"cannot read '{display_name(file)}': {display_name(why)}") from None
    x_adv = tensors.get("adversarial")
    if x_adv is None or x_adv.shape != x.shape:
        got = f"{sorted(tensors)}" if x_adv is None else f"one of {' x '.join(map(str, x_adv.shape))}"
        wanted = " x ".join(map(str, x.shape))
        raise UserError(f"'{display_name(file)}' has no tensor 'adversarial' of {wanted}, but {got}")
    return x_adv


def _picture(model: Classifier, path: Path, adversarial: Path, x: Tensor, read: Read) -> Tensor:
    """The adversarial picture at the model's size."""
    picture, original = read_picture(adversarial), read(path)
    size = original.size if isinstance(original, Image.Image) else (x.shape[2], x.shape[1])
    height, width = x.shape[1:]
    ways = []
    if picture.size == (width, height):
        mode = "L" if len(x) == 1 else "RGB"
        pixels = torch.frombuffer(bytearray(picture.convert(mode).tobytes()), dtype=torch.uint8)
        ways.append(pixels.view(height, width, len(x)).permute(2, 0, 1).to(x) / 255)
    if picture.size == size and isinstance(original, Image.Image):
        ways.append(model.preprocess(picture).to(x))
    if not ways:
        own, its = (" x ".join(map(str, each)) for each in (picture.size, size))
        raise UserError(
            f"'{display_name(adversarial)}' has {own} pixels, '{display_name(path)}' {its}: they cannot be compared",
            hint=f"the adversarial picture must have the size of the other one, or {width} x {height}, the model's own",
        )
    # If the picture itself has the model's size, it may be the crop or the whole: a perturbation is small.
    return min(ways, key=lambda way: float((way - x).norm()))
