"""The measurements of `tests.peers.gpu`: each takes the device and yields rows as they are measured.

On the CPU, which is only for trying the script, networks and images are tiny.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor

from advbench.datasets.embedded import embedded_batch
from advbench.evaluation.judge import judge
from advbench.models import load_model
from advbench.models.classifier import Classifier
from attacks import APGD, DDN, FMN, L2, PGD, Fast, Linf, Square, Standard, Untargeted
from attacks.speed.folding import FORMS, rewritten
from tests.peers.autoattack import in_one_call
from tests.peers.machine import processor

Row = dict[str, Any]
ROOT = Path(__file__).parents[2]
STEP = 0.0625
"""Length of a step of PGD as a fraction of eps."""
EPS, TINY_EPS = 1 / 255, 1e-5
"""A usual budget, and one with which no image is fooled, so that every library takes all steps with all images."""
RUN_IMAGES = 32
"""Number of images in a whole run."""
CONTRACT = (
    *("candidates_have_the_dtype", "same_image_twice", "left_as_it_was", "own_budget", "fooled_already"),
    *("seed_fixes", "minimum_norm_attack_needs", "callers_grad_mode", "memory_layout", "candidates_keep_to"),
)
"""Parts of the names of those contract tests in which the device can make a difference."""


class Sizes(NamedTuple):
    """How large the inputs are."""

    network: str
    """Network of torchvision, with seeded random weights."""
    side: int
    """Height and width of its images."""
    images: int
    """Images in a batch."""
    steps: int
    """Steps of PGD."""
    digits: int
    """Images of digits on which verdicts are compared."""


SIZES = {"cuda": Sizes("resnet50", 224, 128, 40, 200), "cpu": Sizes("shufflenet_v2_x0_5", 32, 2, 2, 8)}
"""Device -> sizes."""


def machine(device: str) -> Iterator[Row]:
    """Describe the machine."""
    row: Row = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        row |= {"gpu": properties.name, "gpu_gib": properties.total_memory / 2**30, "cuda": torch.version.cuda}
        row |= {"cudnn": torch.backends.cudnn.version()}
    yield row


# --- speed ---


def pgd(device: str) -> Iterator[Row]:
    """PGD with cross-entropy, by this library in every form, and by torchattacks."""
    model, x, y = _seeded(device)
    sizes = SIZES[device]
    for eps in (TINY_EPS, EPS):
        for name, call, exact in _contestants(model, sizes.steps):
            row: Row = {"contestant": name, "eps": eps, "images": len(x), "steps": sizes.steps}
            yield row | _raced(call, model, x, y, eps, exact=exact)


def compiled(device: str) -> Iterator[Row]:
    """PGD with the network compiled by torch.compile; at one eps only, since each batch size is compiled again."""
    model, x, y = _seeded(device)
    sizes, backend = SIZES[device], "inductor" if device == "cuda" else "eager"
    for form in (FORMS[0], FORMS[-1]):
        net = torch.compile(model if form == FORMS[0] else rewritten(model, form), backend=backend)
        row: Row = {"contestant": f"advbench {form}, torch.compile", "eps": TINY_EPS, "images": len(x)}
        yield row | {"steps": sizes.steps} | _raced(_pgd(net, sizes.steps), model, x, y, TINY_EPS)


def _pgd(asked: Any, steps: int) -> Callable[..., Tensor]:
    attack = PGD(norm=Linf(), steps=steps, relative_step=STEP, loss="ce")
    return lambda x, y, eps: attack(asked, x, Untargeted(y), eps=eps)


def standard(device: str) -> Iterator[Row]:
    """The standard verdict compared with AutoAttack, which comes last because it may be slow."""
    model, x, y = _seeded(device)
    attack = Standard() if device == "cuda" else Standard(steps=2, targets=1, rounds=1, queries=2)

    def autoattack(x: Tensor, y: Tensor, eps: float) -> Tensor:
        return in_one_call(model, x, y, eps=eps)

    calls: dict[str, Callable[..., Tensor]] = {
        f"advbench standard, {form}": lambda x, y, eps, form=form: attack(Fast(model, form), x, Untargeted(y), eps=eps)
        for form in (FORMS[0], FORMS[-1])
    }
    for name, call in (calls | {"AutoAttack": autoattack}).items():
        yield {"contestant": name, "eps": EPS, "images": len(x)} | _raced(call, model, x, y, EPS, rounds=1)


def _seeded(device: str) -> tuple[Classifier, Tensor, Tensor]:
    """A network with seeded random weights, random 8-bit images, and the classes that it gives them.

    The mean logits are subtracted from the last bias; otherwise the network would put all images into one class.
    """
    sizes = SIZES[device]
    torch.manual_seed(0)
    net = torchvision.models.get_model(sizes.network, weights=None).eval()
    x = (torch.rand(sizes.images, 3, sizes.side, sizes.side) * 255).round() / 255
    with torch.no_grad():
        net.fc.bias -= net(x[:16]).mean(0)
    model, x = Classifier(net, num_classes=1000).to(device), x.to(device)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def _contestants(model: Classifier, steps: int) -> Iterator[tuple[str, Callable[..., Tensor], bool]]:
    """Name, call, and whether matrix products use full float32 precision (otherwise TF32)."""

    def ours(asked: Any) -> Callable[..., Tensor]:
        return _pgd(asked, steps)

    def peer(x: Tensor, y: Tensor, eps: float) -> Tensor:
        from tests.peers.libraries import torchattacks

        return torchattacks("PGD", steps=steps, relative_step=STEP)(model, x, y, eps)

    yield "torchattacks", peer, True
    for form in FORMS:
        yield f"advbench {form}", ours(Fast(model, form)), True
    yield "torchattacks, TF32", peer, False
    yield "advbench plain, TF32", ours(Fast(model, FORMS[0])), False
    yield "advbench channels_last, TF32", ours(Fast(model, "channels_last")), False


def _raced(
    call: Callable[..., Tensor], model: Any, x: Tensor, y: Tensor, eps: float, *, exact: bool = True, rounds: int = 2
) -> Row:
    """Seconds, images per second, peak memory, and the share of images unbroken in a float32 pass of the network."""
    _precise(exact)
    try:
        before = time.perf_counter()
        if rounds > 1:
            call(x, y, eps)  # libraries are imported, kernels chosen and programs compiled in the first call
            _wait(x)
        first = time.perf_counter() - before
        seconds, peak, x_adv = min((_timed(call, x, y, eps) for _ in range(rounds)), key=lambda each: each[0])
    except Exception as error:  # it is not installed, or does not work on this machine
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    finally:
        _precise(True)
    with torch.no_grad():
        left = (model(x_adv.detach()).argmax(1) == y).float().mean().item()
    return {"seconds": seconds, "first": first, "rate": len(x) / seconds, "peak": peak, "unbroken": left}


def _timed(call: Callable[..., Tensor], x: Tensor, y: Tensor, eps: float) -> tuple[float, int, Tensor]:
    torch.manual_seed(0)
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    _wait(x)
    start = time.perf_counter()
    x_adv = call(x, y, eps)
    _wait(x)
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() if x.is_cuda else 0, x_adv


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def _precise(exact: bool) -> None:
    """Set whether matrix products use full float32 precision or TF32."""
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cuda.matmul.allow_tf32 = not exact


# --- verdicts ---


def agreement(device: str) -> Iterator[Row]:
    """How many images get the same verdict on the CPU and on the device, each judged where it was attacked."""
    _precise(True)
    count = SIZES[device].digits
    many = device == "cuda"
    attacks = (
        (PGD(steps=40 if many else 3), 0.1),
        (APGD(steps=40 if many else 3), 0.1),
        (Square(steps=200 if many else 5), 0.1),
        (Standard() if many else Standard(steps=2, targets=1, rounds=1, queries=2), 0.1),
        (DDN(steps=50 if many else 3), 1.5),
        (FMN(norm=L2(), steps=50 if many else 3), 1.5),
    )
    for name in ("lenet", "mlp_mnist"):
        batch = embedded_batch("mnist", count)
        for attack, eps in attacks:
            met, logits = {}, {}
            for place in ("cpu", device):
                model, x = load_model(name, device=place), batch.x.to(place)
                goal = Untargeted(batch.y.to(place), ids=batch.ids.to(place))
                x_adv = attack(model, x, goal, eps=eps)
                met[place] = judge(model, x, x_adv, goal, attack.norm, eps).met.cpu()
                with torch.no_grad():
                    logits[place] = model(x).cpu()
            yield {
                "model": name,
                "attack": f"{type(attack).__name__}, {attack.norm.name} {eps:g}",
                "images": count,
                "agree": int((met["cpu"] == met[device]).sum()),
                "cpu": int(met["cpu"].sum()),
                "gpu": int(met[device].sum()),
                "logits": float((logits["cpu"] - logits[device]).abs().max()),
            }


# --- whole runs ---

_NET = """
import torch, torchvision
from pathlib import Path
from advbench import Classifier

def net():
    network = torchvision.models.get_model("{network}", weights=None)
    network.load_state_dict(torch.load(Path(__file__).with_name("weights.pt"), weights_only=True))
    return Classifier(network, num_classes=1000, input_size={side})
"""
_SUITE = """
models = {{ name = "{folder}/nets.py:net", label = "{network}" }}
datasets = {{ name = "arrays", path = "{folder}/images.npz", label = "random" }}
attacks = [{{ name = "pgd", params = {{ steps = {steps} }} }}]
eps = {{ linf = ["1/255", 1e-5] }}
"""


def workers(device: str) -> Iterator[Row]:
    """`advbench run` with one and with two worker processes on one GPU."""
    import numpy as np

    sizes = SIZES[device]
    model, x, y = _seeded(device)
    x, y = x[:RUN_IMAGES], y[:RUN_IMAGES]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch.save(model.cpu().module.state_dict(), folder / "weights.pt")
        (folder / "nets.py").write_text(_NET.format(network=sizes.network, side=sizes.side))
        (folder / "suite.toml").write_text(_SUITE.format(folder=folder, network=sizes.network, steps=sizes.steps))
        np.savez(folder / "images.npz", x=(x.cpu().numpy() * 255).round().astype("uint8"), y=y.cpu().numpy())
        for number in (1, 2):
            yield {"workers": number, "images": len(x)} | _whole_run(folder, device, number)


def _whole_run(folder: Path, device: str, number: int) -> Row:
    """Total seconds, seconds in units, and the numbers of units, rows and verdicts."""
    out = folder / f"run {number}"
    options = ["--allow-code", "--device", device, "--workers", str(number), "--quiet", "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "advbench", "run", str(folder / "suite.toml"), *options], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        return {"failed": f"code {done.returncode}: {(done.stderr.strip().splitlines() or [''])[0]}"[:200]}
    from advbench.records.stored_run import read_run

    run = read_run(out)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    times = [event["time"] for event in events if event["event"] in ("start", "done")]
    return {
        "seconds": seconds,
        "units_seconds": times[-1] - times[0],
        "units": len(run.plan),
        "unknown": run.unknown,
        "met": int(run.frame["met"].fillna(False).sum()),
        "rows": len(run.frame),
    }


# --- the contract ---


def contract(device: str) -> Iterator[Row]:
    """The contract tests of the attacks, with models and images on the device; only the last row counts."""
    chosen = " or ".join(CONTRACT) if device == "cuda" else "same_image_twice and fgsm"
    command = [sys.executable, "-m", "pytest", "tests/attacks/test_contract.py", "-v", "--tb=line", "-k", chosen]
    if device == "cuda" and find_spec("xdist"):
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    environment = os.environ | {"ADVBENCH_TEST_DEVICE": device}
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if not (found := re.search(r"(\S+::\S+.*)? ?\b(PASSED|FAILED|ERROR|SKIPPED)\b", line)):
                continue
            kind = {"ERROR": "failed"}.get(found[2], found[2].lower())
            if line.startswith(("FAILED", "ERROR", "SKIPPED")):  # in the summary at the end
                continue
            counts[kind] += 1
            if kind == "failed":
                failures.append(line.strip().rpartition("::")[2][:120])
            if not sum(counts.values()) % 50:
                yield counts | {"failures": failures, "finished": False}
    yield counts | {"failures": failures, "finished": process.returncode in (0, 1)}
