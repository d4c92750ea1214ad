"""The page of `tests.peers.gpu`. Does not import torch."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]

NOTHING = """# On a GPU

**There are no GPU figures yet.** No machine with a CUDA GPU has been available: nothing in this repository says how
fast the attacks are on one, or whether they give the same verdicts there. `make gpu` measures both in at most eight
minutes and rewrites this page; until then the script has only been tried on a CPU, with tiny inputs.
"""

_HEAD = """# On a GPU

Made by `make gpu` (`python -m tests.peers.gpu`) in {seconds:.0f} seconds; the numbers are in `gpu.json`. {machine}
"""
_TRIED = """# A trial of the script on a CPU

**No GPU figures**: made by `python -m tests.peers.gpu --device cpu` with tiny inputs, which only shows that the script
works. {machine}
"""


def page(results: Mapping[str, Any]) -> str:
    """The page for what has been measured so far.

    Args:
        results: Content of `gpu.json`; empty if nothing has been measured.
    """
    if not results:
        return NOTHING
    parts = results["parts"]
    machine = _machine(parts["machine"]["rows"]) if "machine" in parts else ""
    head = _HEAD if results["device"] == "cuda" else _TRIED
    text = head.format(seconds=results.get("seconds", 0.0), machine=machine)
    for name, part in parts.items():
        if name in _SECTIONS:
            title, section = _SECTIONS[name]
            text += f"\n## {title}\n\n{section(part['rows'])}{_ending(part)}"
    return text


def _ending(part: Row) -> str:
    if part["ended"] == "done":
        return ""
    if part["ended"] == "out of time":
        return f"\nThis part ran out of time after {part['seconds']:.0f} seconds; missing rows were not reached.\n"
    return f"\nThis part ended early: `{part['ended']}`\n"


def _machine(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    row = rows[0]
    gpu = f"{row['gpu']}, {row['gpu_gib']:.0f} GiB, CUDA {row['cuda']}, cuDNN {row['cudnn']}; " if "gpu" in row else ""
    return f"{gpu}{row['processor']}, {row['cores']} cores; Python {row['python']}, torch {row['torch']}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|---|" + "--:|" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


_SPEED = """\
{images} random images in one batch, on a network with seeded random weights; the label is the class it predicts.
**Seconds** are wall-clock time between synchronisations, the least of the rounds after a first call; the time of the
first call, where there was one, has its own column. **Unbroken** is the share of images that a float32 pass of the
network still classifies as before. TF32 is off unless named.

"""
_COMPILED = """\
The same with the network compiled by `torch.compile`; **first call** includes the compilation. With bfloat16 the
verdicts by which images leave the batch are those of the compiled form, not of the network.

"""


def _speed(rows: Sequence[Row]) -> str:
    return _SPEED.format(images=rows[0]["images"] if rows else "No") + _seconds(rows)


def _compiled(rows: Sequence[Row]) -> str:
    return _COMPILED + _seconds(rows)


def _seconds(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        begins = [row["contestant"], f"{row['eps']:.2g}"]
        if "failed" in row:
            lines.append([*begins, "", "", "", "", row["failed"].replace("|", "/")])
            continue
        numbers = [f"{row['seconds']:.2f}", f"{row['first']:.1f}", f"{row['rate']:.0f}", f"{row['peak'] / 2**30:.2f}"]
        lines.append([*begins, *numbers, f"{row['unbroken']:.1%}"])
    heads = ("Contestant", "eps", "Seconds", "First call", "Images per second", "Peak GiB", "Unbroken")
    return _table(heads, lines)


def _agreement(rows: Sequence[Row]) -> str:
    lines = [
        [
            *(row["model"], row["attack"], str(row["images"]), f"{row['agree'] / row['images']:.1%}"),
            *(str(row["cpu"]), str(row["gpu"]), f"{row['logits']:.1e}"),
        ]
        for row in rows
    ]
    agree, images = sum(row["agree"] for row in rows), sum(row["images"] for row in rows)
    heads = ("Model", "Attack", "Images", "Same verdict", "Fooled: CPU", "GPU", "Largest difference of clean logits")
    said = f"\nIn total, {agree} of {images} verdicts are the same.\n" if images else ""
    return (
        "The same attack with the same seed on both devices, each result judged where it was made; TF32 is off.\n\n"
        + _table(heads, lines)
        + said
    )


def _workers(rows: Sequence[Row]) -> str:
    heads = ("Workers", "Total seconds", "Seconds in units", "Units", "Rows", "Goal met", "Unknown")
    lines = [
        [str(row["workers"]), row["failed"].replace("|", "/"), *[""] * 5]
        if "failed" in row
        else [
            *(str(row["workers"]), f"{row['seconds']:.1f}", f"{row['units_seconds']:.1f}", str(row["units"])),
            *(str(row["rows"]), str(row["met"]), str(row["unknown"])),
        ]
        for row in rows
    ]
    return "`advbench run` with worker processes that share the GPU.\n\n" + _table(heads, lines)


def _contract(rows: Sequence[Row]) -> str:
    if not rows:
        return "No test finished.\n"
    row = rows[-1]
    text = f"{row['passed']} tests passed, {row['failed']} failed, {row['skipped']} were skipped"
    text += ".\n" if row["finished"] else ", and others were not reached.\n"
    return text + "".join(f"- failed: `{name}`\n" for name in row["failures"][:20])


_SECTIONS = {
    "pgd": ("PGD, Linf, cross-entropy, random start", _speed),
    "compiled": ("PGD with torch.compile", _compiled),
    "standard": ("The standard verdict compared with AutoAttack", _speed),
    "agreement": ("Verdicts on the CPU and on the GPU", _agreement),
    "workers": ("Workers sharing a GPU", _workers),
    "contract": ("The attacks' contract", _contract),
}
"""Name of a part -> its title and the function that writes its section."""
