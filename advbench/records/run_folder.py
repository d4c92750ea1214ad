"""The folder of a run: the location of each file, and a lock for writing. Does not import torch."""

import json
import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.config.suite_files import code_of
from advbench.errors import UserError, first_line
from advbench.records.manifest import check_manifest, version_of
from advbench.records.storage.atomic import folder_for_results, write_atomic
from advbench.records.unit import FORMAT, Unit


class Holder(NamedTuple):
    """The process that holds the folder of a run."""

    pid: int
    """Id of the process."""
    host: str
    """Name of its machine."""

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended; False for processes on other machines."""
        if self.host != platform.node() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False

    def __str__(self) -> str:
        return f"pid {self.pid}" if self.host == platform.node() else f"pid {self.pid} on {self.host}"


@dataclass(frozen=True)
class RunFolder:
    """Paths inside the folder of a run, and its small files.

    Example:
        >>> RunFolder(Path("reports/smoke")).shard("ab").as_posix()
        'reports/smoke/shards/ab.parquet'
    """

    path: Path
    """Path of the folder."""

    @property
    def manifest(self) -> Path:
        """Manifest: the suite, the versions, and the course of the run."""
        return self.path / "manifest.json"

    @property
    def plan(self) -> Path:
        """The units of work, one per line."""
        return self.path / "plan.jsonl"

    @property
    def flags(self) -> Path:
        """The trust flags of all models."""
        return self.path / "flags.json"

    @property
    def imported(self) -> Path:
        """Results imported from other verifiers."""
        return self.path / "imported.json"

    @property
    def rows(self) -> Path:
        """The rows of all shards gathered in one file, which is faster to read than thousands of shards."""
        return self.path / "rows.parquet"

    @property
    def events(self) -> Path:
        """Event log, one event per line, append-only."""
        return self.path / "events.jsonl"

    @property
    def holder(self) -> Holder | None:
        """The process that holds the folder, or that was killed while holding it; None if there is none."""
        try:
            pid, _, host = (self.path / ".holder").read_text(encoding="utf-8").partition(" ")
            return Holder(int(pid), host)
        except (OSError, ValueError):
            return None

    @property
    def resuming(self) -> str:
        """The command that resumes the run, with the options that its plugins and the code of its models need."""
        words = ["advbench resume", shlex.quote(str(self.path))]
        with suppress(UserError):  # without a manifest, the command says so itself
            manifest = self.read_manifest()
            words += [f"--plugin {name}" for name in sorted(manifest.get("identity", {}).get("plugins", {}))]
            words += ["--allow-code"] if code_of(Suite.model_validate(manifest["suite"], context=AS_IT_WAS)) else []
        return " ".join(words)

    def shard(self, unit_id: str) -> Path:
        """The rows of a unit."""
        return self.path / "shards" / f"{unit_id}.parquet"

    def clean(self, unit_id: str) -> Path:
        """The predictions for the clean images of a model and a data set."""
        return self.path / "clean" / f"{unit_id}.safetensors"

    def checks(self, unit_id: str) -> Path:
        """The trust flags of a model on a data set."""
        return self.path / "checks" / f"{unit_id}.json"

    def adversarials(self, unit_id: str) -> Path:
        """Adversarial images of a unit."""
        return self.path / "adv" / f"{unit_id}.safetensors"

    def error(self, unit_id: str) -> Path:
        """The reason why a unit failed; it is retried when the run is resumed."""
        return self.path / "errors" / f"{unit_id}.json"

    def result(self, unit: Unit) -> Path:
        """Path of a unit's result, whatever its task."""
        return {"clean": self.clean, "checks": self.checks, "attack": self.shard, "prove": self.shard}[unit.task](
            unit.unit_id
        )

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Raises:
            UserError: There is none, it is damaged, or a later version of advbench wrote it.
        """
        try:
            manifest: dict[str, Any] = json.loads(self.manifest.read_bytes())
            version = version_of(manifest)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path} is not the folder of a run: it has no manifest.json") from None
        except OSError as error:
            raise _unreadable(self.manifest, error) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"cannot read {self.manifest}: {first_line(error)}", hint=_START_AGAIN) from None
        if version != FORMAT:
            hint = "upgrade advbench" if version > FORMAT else _START_AGAIN
            raise UserError(f"{self.manifest} has format {version}, and this advbench reads {FORMAT}", hint=hint)
        try:
            check_manifest(manifest)
        except ValueError as error:
            raise UserError(f"{self.manifest} was changed: {error}", hint=_CHANGED) from None
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest.

        Raises:
            UserError: It cannot be written.
        """
        write_atomic(self.manifest, (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode())

    def read_plan(self) -> tuple[Unit, ...]:
        """Read the units of the run.

        Raises:
            UserError: The plan is missing or damaged.
        """
        try:
            return tuple(Unit.from_json(line) for line in self.plan.read_text(encoding="ascii").splitlines())
        except FileNotFoundError:
            raise UserError(f"cannot read {self.plan}: there is no such file", hint=_START_AGAIN) from None
        except OSError as error:
            raise _unreadable(self.plan, error) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"cannot read {self.plan}: {first_line(error)}", hint=_START_AGAIN) from None

    def log(self, event: str, **details: object) -> None:
        """Append to the event log; a failure to write does not stop the run."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        try:
            with self.events.open("a", encoding="ascii") as file:
                file.write(f"{line}\n")
        except OSError:
            return  # the log is only informative; a full disk surfaces when results are written

    def set_aside(self, path: Path, why: str) -> Path:
        """Move a damaged file to `corrupt/`, so that its unit is run again and the file can still be inspected."""
        place = self.path / "corrupt" / f"{path.name}.{time.time_ns()}"
        place.parent.mkdir(exist_ok=True)
        path.replace(place)
        self.log("set aside", file=str(path.relative_to(self.path)), why=why)
        return place

    def sweep(self) -> None:
        """Remove temporary files that a killed process left behind; call only while the folder is held."""
        for path in self.path.rglob(".*.tmp-*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from running in this folder; the lock is released if its process dies.

        Raises:
            UserError: Another process holds it, or the folder cannot be written to.
        """
        from filelock import FileLock, Timeout

        lock, holder = self.path / ".lock", self.path / ".holder"
        with folder_for_results(self.path):
            try:
                with FileLock(lock, timeout=0):
                    write_atomic(holder, f"{os.getpid()} {platform.node()}".encode())
                    try:
                        yield
                    finally:
                        holder.unlink(missing_ok=True)
                        if not self.manifest.exists():  # the run never started
                            lock.unlink(missing_ok=True)
            except Timeout:
                raise UserError(
                    f"another process ({self.holder or 'pid unknown'}) is running in {self.path}",
                    hint="wait for it, end it, or choose another folder with --out",
                ) from None


def _unreadable(file: Path, error: OSError) -> UserError:
    """The error for a file that exists but that the system does not let us read: the run itself is fine."""
    hint = "change its permissions" if isinstance(error, PermissionError) else "check the path and the disk"
    return UserError(f"cannot read {file}: {(error.strerror or type(error).__name__).lower()}", hint=hint)


_CHANGED = "put it back as it was, or move the folder away and start again"
_START_AGAIN = "move the folder away and start again"
