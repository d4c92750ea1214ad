"""How a run was made, as names and values in words, for every report that tells it. No torch."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from advbench.records.record import PROOF

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


def conditions(run: "StoredRun") -> list[tuple[str, str]]:
    """The conditions of the run, as names and values; those that are unknown are left out."""
    manifest = run.manifest
    machine = manifest.get("environment") or {}
    found: list[tuple[str, Any]] = [(name, manifest.get(name)) for name in ("run_id", "started", "finished", "workers")]
    found += [(name, machine.get(name)) for name in ("commit", "system", "processor", "cores", "python")]
    versions = ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items())
    found += [
        ("forms of the networks", _forms(run)),
        ("device", run.suite.device),
        ("seed", run.suite.seed),
        ("versions", versions),
    ]
    return [(name, in_words(value)) for name, value in found if value not in (None, "")]


def attacks_of(verdict: "Verdict") -> list[tuple[str, str]]:
    """Every attack of a run with its parameters in full, as JSON."""
    frame = verdict.analysis.frame
    pairs = frame.loc[frame["attack"] != PROOF, ["attack", "params"]].drop_duplicates()
    return [(str(attack), str(params)) for attack, params in zip(pairs["attack"], pairs["params"], strict=True)]


def in_words(value: object) -> str:
    """A value of the manifest in words; a number with a fraction is a time.

    Example:
        >>> in_words(0.0), in_words(3), in_words("cpu")
        ('1 January 1970, 00:00 UTC', '3', 'cpu')
    """
    if isinstance(value, float):
        when = datetime.fromtimestamp(value, UTC)
        return f"{when.day} {when:%B %Y, %H:%M} UTC"
    return value if isinstance(value, str) else json.dumps(value)


def _forms(run: "StoredRun") -> str:
    """The form of each network that attacks took their gradients from; empty if none was chosen."""
    forms = (run.manifest.get("identity") or {}).get("forms") or {}
    return ", ".join(f"{name}: {choice['form']}" for name, choice in forms.items())
