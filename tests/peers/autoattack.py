"""AutoAttack in one call, or attack by attack, so that a run of hours can be interrupted and resumed."""

import time
from pathlib import Path
from typing import Any


def in_one_call(model: Any, x: Any, y: Any, *, eps: float, seed: int = 0, batch_size: int | None = None) -> Any:
    """Run `pyautoattack`, version "standard", in Linf; all images form one batch unless a batch size is given."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm="Linf", eps=eps, seed=seed, device=x.device)
    return attack.run_standard_evaluation(x, y, batch_size=batch_size or len(x))[0]


class InParts:
    """`pyautoattack`, version "standard", attack by attack.

    Each attack gets the images that survived the ones before, and its own seed, so the result is that of a single call.
    The package's own ``state_path`` stores which images survive, but neither the adversarial images nor the time taken.

    Args:
        file: Where the result so far is saved after each attack, and resumed from; None: nowhere.
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
