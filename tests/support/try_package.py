"""What somebody does first with an installed package: ask for help, list, attack a picture, run, report.

    python -m tests.support.try_package FOLDER

FOLDER is a virtual environment with the wheel in it and nothing else. Only the standard library is needed here, and the
current folder is left, so that nothing of this repository is found.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = """
from advbench import load_dataset
load_dataset("mnist").read(0).save("digit.png")
"""
"""Makes a picture of one digit that the package carries."""
SMALL = """
name = "small"
models = "lenet"
datasets = "mnist"
images = 8
attacks = [{ name = "pgd", params = { steps = 3 } }]
eps = { linf = 0.1 }
"""
"""A suite that takes seconds."""
COMMANDS = (
    "advbench --help",
    "advbench --version",
    "advbench models",
    "advbench attacks",
    "advbench datasets",
    "advbench attack --model lenet --attack pgd --eps 0.3 --out attacked digit.png",
    "advbench run small.toml --out run --workers 1",
    "advbench report run",
    "advbench report run --format html",
    "advbench report run --format sarif --out run.sarif",
    "advbench verify run",
)
"""Commands that have to work, in this order."""


def try_in(environment: Path) -> list[str]:
    """The commands that fail in a virtual environment, each with what it said."""
    binaries = environment.resolve() / ("Scripts" if sys.platform == "win32" else "bin")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small.toml").write_text(SMALL, encoding="utf-8")
        for command in (["python", "-c", PICTURE], *map(str.split, COMMANDS)):
            program, *arguments = command
            done = subprocess.run(
                [binaries / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
            )
            print(f"{'ok  ' if done.returncode == 0 else 'FAIL'} {' '.join(command).strip()[:100]}", flush=True)
            if done.returncode:
                failed.append(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}{done.stderr}")
    return failed


if __name__ == "__main__":
    sys.exit("\n\n".join(try_in(Path(sys.argv[1]))) or 0)
