"""Attacks on pictures on disk, configured to be quick."""

import fakes

from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec

FILES = {
    "adversarial.png",
    "perturbation.png",
    "panel.png",
    "adversarial.safetensors",
    "record.parquet",
    "record.csv",
}


def configured(*paths, **options):
    given = {"model": "tiny", "eps": 2 / 255, "device": "cpu", "attack": "fgsm", "goal": GoalSpec("untargeted")}
    return AttackConfig(paths=paths, **(given | options))


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def white_among_others(folder):
    """Four pictures, the third of them white."""
    return [fakes.picture(folder / f"{i}.png", i, contrast=0 if i == 2 else 0.3) for i in range(4)]
