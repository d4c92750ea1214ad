"""Images that are known to be breakable and that attacks miss: `python -m tests.peers.hard`.

The folder `shared` beside the repository names digits for which complete verification has proved that an adversarial
image exists. All of them is what can be reached; each attack gets them in one batch, on one thread.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPORT = Path(__file__).parents[2] / "reports" / "peers"

_HEAD = """# Hard images

Made by `python -m tests.peers.hard`; the numbers are in `hard.json`.

Complete verification has proved that each of these images can be broken: all of them is the limit. **Broken** is what
a fresh forward pass of the model says, within the budget and [0, 1]. **Seconds** are of the processor, on one thread;
**passes** are a mean over the images.

| Model | Attack | Broken | Seconds | Forward passes | Backward passes |
|---|---|--:|--:|--:|--:|
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.hard", description=__doc__)
    parser.add_argument("--list", type=Path, metavar="FILE", help="default: models/hard.json of the folder shared")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="attacks to run; the others stay as they are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    # read when torch is imported; threads that spin while they wait disturb every measurement
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tests.peers.victims import SHARED

    listed = json.loads((options.list or SHARED / "models/hard.json").read_text(encoding="utf-8"))
    path = options.out / "hard.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for model, entry in listed.items():
        for name, call in _contenders().items():
            if options.only and name not in options.only:
                continue
            results.setdefault(model, {})[name] = found = _measure(model, entry, call, options.seed)
            print(f"{name} on {model}: {found['broken']} of {found['images']}", file=sys.stderr, flush=True)
            options.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            (options.out / "hard.md").write_text(_page(results), encoding="utf-8")


def _contenders() -> dict[str, Callable[..., Any]]:
    """Attack -> call `(model, x, goal, eps, seed) -> x_adv`; libraries that are not installed are left out."""
    from importlib.util import find_spec

    import torch

    import attacks

    def foolbox_pgd(model: Any, x: Any, goal: Any, eps: float, seed: int) -> Any:
        import foolbox

        class Asked(torch.nn.Module):
            """Foolbox takes modules alone."""

            def forward(self, x: Any) -> Any:
                return model(x)

        attack = foolbox.attacks.LinfPGD(steps=200).repeat(10)
        victim = foolbox.PyTorchModel(Asked().eval(), bounds=(0, 1), device="cpu")
        return attack(victim, x, goal.labels, epsilons=eps)[1]

    def autoattack(model: Any, x: Any, goal: Any, eps: float, seed: int) -> Any:
        from pyautoattack import AutoAttack

        found = AutoAttack(model, norm="Linf", eps=eps, seed=seed).run_standard_evaluation(
            x, goal.labels, batch_size=len(x)
        )
        return found[0] if isinstance(found, tuple) else found

    def ours(attack: attacks.BudgetAttack) -> Callable[..., Any]:
        return lambda model, x, goal, eps, seed: attack(model, x, goal, eps=eps, seed=seed)

    calls = {"Foolbox PGD, 200 steps, 10 times": foolbox_pgd, "AutoAttack": autoattack}
    if not find_spec("pyautoattack"):
        del calls["AutoAttack"]
    return calls | {name: ours(attacks.ATTACKS[name]()) for name in ("standard", "thorough") if name in attacks.ATTACKS}


def _measure(model: str, entry: dict[str, Any], call: Callable[..., Any], seed: int) -> dict[str, Any]:
    """What an attack finds on the images of an entry of the list, and what it costs."""
    import torch

    from advbench.judge import judge
    from advbench.meter import Meter
    from attacks import NORMS, Untargeted
    from tests.peers.victims import mnist

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows = torch.tensor(entry["indices"])
    target = mnist(model, int(rows.max()) + 1)()
    x, eps = target.x[rows], entry["eps"]
    goal = Untargeted(target.y[rows], ids=rows)
    metered, start = Meter(target.model, rows), time.process_time()
    x_adv = call(metered, x, goal, eps, seed)
    seconds = time.process_time() - start
    met = judge(target.model, x, x_adv.detach(), goal, NORMS[entry["norm"]](), eps).met
    return {
        "images": len(rows),
        "eps": eps,
        "broken": int(met.sum()),
        "left": rows[~met].tolist(),
        "seconds": seconds,
        "forwards": metered.forwards.mean().item(),
        "backwards": metered.backwards.mean().item(),
        "seed": seed,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def _page(results: dict[str, Any]) -> str:
    lines = [
        f"| {model} | {name} | {found['broken']} of {found['images']} | {found['seconds']:.0f} "
        f"| {found['forwards']:,.0f} | {found['backwards']:,.0f} |\n"
        for model, attacks in results.items()
        for name, found in attacks.items()
    ]
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    main()
