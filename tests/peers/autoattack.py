"""AutoAttack: in one call, or one of its attacks after the other, so that hours can be interrupted and continued."""

import time
from pathlib import Path
from typing import Any


def in_one_call(model: Any, x: Any, y: Any, *, eps: float, seed: int = 0, batch_size: int | None = None) -> Any:
    """What `pyautoattack`, version "standard", finds in Linf; all images together, unless a batch size is given."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm="Linf", eps=eps, seed=seed, device=x.device)
    return attack.run_standard_evaluation(x, y, batch_size=batch_size or len(x))[0]


class InParts:
    """`pyautoattack`, version "standard"; after each attack the result so far is kept in ``file``, if one is given.

    Each attack takes the images that the ones before have left and its own seed, so the parts find what one call finds.
    The package's own ``state_path`` keeps which images survive, but not the adversarial images, nor how long they took.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.earlier = 0.0
        """Processor seconds of the parts that earlier processes ran."""

    def __call__(self, model: Any, x: Any, goal: Any, norm: str, eps: float) -> Any:
        import torch
        from pyautoattack import AutoAttack

        attack = AutoAttack(model, norm=norm.capitalize(), eps=eps, seed=0)
        kept = torch.load(self.file) if self.file and self.file.exists() else {"done": [], "x_adv": x, "seconds": 0.0}
        self.earlier = kept["seconds"]
        x_adv, start = kept["x_adv"].clone(), time.process_time()
        for part in [part for part in attack.attacks_to_run if part not in kept["done"]]:
            with torch.no_grad():
                left = (model(x_adv).argmax(1) == goal.labels).nonzero().squeeze(1)
            if not len(left):
                break
            attack.attacks_to_run = [part]
            x_adv[left] = attack.run_standard_evaluation(x[left], goal.labels[left], batch_size=len(x))[0]
            kept["done"].append(part)
            if self.file:
                torch.save(kept | {"x_adv": x_adv, "seconds": self.earlier + time.process_time() - start}, self.file)
        return x_adv
