"""Cache of the times measured for the forms of networks on this machine. Does not import torch."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advbench.config.folders import cache_folder
from advbench.errors import UserError
from advbench.records.storage.atomic import write_atomic
from advbench.records.unit import digest
from advbench.sanitize import count_of


class Setting(BaseModel):
    """Setting of a measurement: everything that the times depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str
    """Digest of the classifier's weights and settings."""
    program: str
    """Digest of its code; another network may later have the same weights."""
    image: tuple[int, ...]
    """Shape of an image (C, H, W)."""
    device: str
    """Name of the processor or graphics card."""
    threads: int
    """Number of torch's threads."""
    versions: str
    """Versions of torch and advbench."""


Seconds = dict[str, Annotated[float, Field(gt=0)]]


class Calibration(BaseModel):
    """Time of one gradient per image for each form of a network that gives its predictions.

    Example:
        >>> setting = Setting(
        ...     weights="ab", program="cd", image=(1, 28, 28), device="cpu", threads=1, versions="2.14"
        ... )
        >>> found = Calibration(setting=setting, model="net", form="folded", batch=4, seconds={"plain": 2, "folded": 1})
        >>> found.describe()
        'net, 1 x 28 x 28, 1 thread: folded, 2.0 times as fast'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Setting
    """Setting of the measurement."""
    model: str
    """Name of the classifier."""
    form: str
    """Name of the form to be used."""
    batch: Annotated[int, Field(ge=1)]
    """Batch size above which the cost per image no longer falls."""
    seconds: Seconds
    """Form -> seconds of one gradient of one image."""

    def describe(self) -> str:
        """Human-readable summary."""
        shape, threads = " x ".join(map(str, self.setting.image)), self.setting.threads
        where = f"{self.model}, {shape}, {count_of(threads, 'thread')}"
        if self.form != "plain":
            return f"{where}: {self.form}, {self.seconds['plain'] / self.seconds[self.form]:.1f} times as fast"
        return f"{where}: plain, {'no form is faster' if len(self.seconds) > 1 else 'it has no other form'}"


def calibrations_folder() -> Path:
    """Path of the cache: in the user's cache, or below the folder that ADVBENCH_CACHE names."""
    return cache_folder() / "forms"


def recall(setting: Setting) -> Calibration | None:
    """Return the earlier measurement, if any; a damaged file is set aside, and an unreadable one counts as missing."""
    path = _path(setting)
    found = _read(path)
    if found is None or found.setting != setting:
        with suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        return None
    return found


def keep(calibration: Calibration) -> None:
    """Store a measurement; failures to write the cache are ignored."""
    with suppress(UserError):
        write_atomic(_path(calibration.setting), calibration.model_dump_json(indent=1).encode())


def kept() -> Iterator[Calibration]:
    """All measurements made on this machine."""
    yield from filter(None, map(_read, sorted(calibrations_folder().glob("*.json"))))


def _path(setting: Setting) -> Path:
    return calibrations_folder() / f"{digest(setting.model_dump())}.json"


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
