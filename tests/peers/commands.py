"""Cost of whole commands: seconds from start to end, and peak memory. Does not import torch, see `__main__`."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

_PICTURE = "imagenet_17_22.jpg"
_SEEDED_VGG16 = """
import sys, torch, torchvision
torch.manual_seed(0)
torch.save(torchvision.models.vgg16(weights=None).state_dict(), sys.argv[1])
"""
_LOADS_TORCH = """
import sys
from advbench.cli.main import main
main(sys.argv[1:], standalone_mode=False)
print("torch" in sys.modules, file=sys.stderr)
"""


def run_commands(*, quick: bool, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run common commands, with torch's default number of threads.

    Returns:
        A record for each: command, seconds (median), runs, peak_mib, torch (whether it was imported).
    """
    picture = _bundled_picture()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        weights, out = Path(scratch) / "vgg16.pth", str(Path(scratch) / "out")
        attack = ["attack", str(picture), "--out", out, "--quiet", "--model"]
        jobs = [
            (["--help"], "advbench --help", 10),
            (["models"], "advbench models", 10),
            ([*attack, "efficientnet_lite0"], "advbench attack --model efficientnet_lite0 PICTURE", 3),
        ]
        if not quick:
            subprocess.run([sys.executable, "-c", _SEEDED_VGG16, str(weights)], check=True)
            arguments = [*attack, "vgg16", "--weights", str(weights)]
            jobs.append((arguments, "advbench attack --model vgg16 --weights FILE PICTURE (random weights)", 1))
        for arguments, shown, runs in jobs:
            progress(shown)
            found.append({"command": shown, **_measured(arguments, 1 if quick else runs)})
    return found


def _measured(arguments: list[str], runs: int) -> dict[str, Any]:
    takes = [_run([sys.executable, "-m", "advbench", *arguments]) for _ in range(runs)]
    imports_torch = "attack" in arguments or _imports_torch(arguments)
    return {
        "seconds": median(seconds for seconds, _ in takes),
        "runs": runs,
        "peak_mib": max(peak for _, peak in takes),
        "torch": imports_torch,
    }


def _run(command: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and peak memory in MiB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{errors}")
    # macOS counts in bytes, Linux in KiB
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _imports_torch(arguments: list[str]) -> bool:
    done = subprocess.run([sys.executable, "-c", _LOADS_TORCH, *arguments], capture_output=True, text=True, check=True)
    return done.stderr.split()[-1] == "True"


def _bundled_picture() -> Path:
    """A photograph that ships with Foolbox, found without importing it."""
    spec = importlib.util.find_spec("foolbox")
    return Path(spec.submodule_search_locations[0]) / "data" / _PICTURE
