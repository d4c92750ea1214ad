"""Other libraries' attacks behind one call: `(model, x, y, eps) -> x_adv`.

Each function takes an attack's name and parameters as the library names them, and returns a call as the library's
documentation shows it. A library is imported when it is first called.
"""

import sys
import types
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from advbench.models.classifier import Classifier

Call = Callable[[Classifier, Tensor, Tensor, float | None], Tensor]
"""Model, images (N, C, H, W) in [0, 1], labels (N,), eps (None for a minimum-norm attack) -> candidates."""

PACKAGES = {
    "Foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "ART": "adversarial-robustness-toolbox",
    "adv-lib": "adv-lib",
    "AutoAttack": "pyautoattack",
    "AttackBench": "attackbenchlib",
}
"""Library -> name of its package."""


def versions() -> dict[str, str]:
    """Library -> installed version."""
    return {library: version(package) for library, package in PACKAGES.items()}


def foolbox(name: str, **parameters: Any) -> Call:
    """An attack of `foolbox.attacks`."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        import foolbox

        attack = getattr(foolbox.attacks, name)(**parameters)
        _, x_adv, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device), x, y, epsilons=eps)
        return x_adv

    return call


def torchattacks(name: str, *, relative_step: float | None = None, **parameters: Any) -> Call:
    """An attack of `torchattacks`; a relative step becomes its `alpha`."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        import torchattacks

        budget = {} if eps is None else {"eps": eps}
        step = {} if relative_step is None else {"alpha": relative_step * eps}
        return getattr(torchattacks, name)(model, **budget, **step, **parameters)(x, y)

    return call


def art(name: str, *, relative_step: float | None = None, **parameters: Any) -> Call:
    """An attack of `art.attacks.evasion`; a relative step becomes its `eps_step`."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        import torch
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        step = {} if relative_step is None else {"eps_step": relative_step * eps}
        classifier = PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=model.num_classes,
            clip_values=(0, 1),
            device_type=x.device.type,
        )
        attack = getattr(evasion, name)(classifier, eps=eps, batch_size=len(x), **step, **parameters)
        return torch.from_numpy(attack.generate(x.cpu().numpy(), y.cpu().numpy())).to(x)

    return call


def adv_lib(name: str, **parameters: Any) -> Call:
    """A function of `adv_lib.attacks` or, if the name has a dot, of one of its modules."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        # adv-lib imports visdom, which draws progress in a browser, and uses it only for a callback.
        sys.modules.setdefault("visdom", types.ModuleType("visdom"))
        from adv_lib import attacks

        return attrgetter(name)(attacks)(model, x, y, *([] if eps is None else [eps]), **parameters)

    return call


def autoattack(name: str = "autopgd_base.APGDAttack", **parameters: Any) -> Call:
    """An attack of AutoAttack, the reference implementation by its authors, as `module.class`."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        module, kind = name.split(".")
        attack = getattr(import_module(f"pyautoattack.{module}"), kind)
        return attack(model, eps=eps, device=x.device, **parameters).perturb(x, y)

    return call


def attackbench(name: str, **parameters: Any) -> Call:
    """An attack that AttackBench implements itself, as `module.function` of `attackbench.attacks.original`."""

    def call(model: Classifier, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        sys.modules.setdefault("wandb", without_wandb())
        module, kind = name.split(".")
        attack = getattr(import_module(f"attackbench.attacks.original.{module}"), kind)
        return attack(model=model, inputs=x, labels=y, **parameters)

    return call


def without_wandb() -> types.ModuleType:
    """Stand-in for wandb, which AttackBench imports but only needs to download published results."""
    wandb = types.ModuleType("wandb")
    vars(wandb).update(Api=object, Artifact=object)  # its annotations name these
    return wandb
