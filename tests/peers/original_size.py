"""Attacks on photographs at their original size: `python -m tests.peers.original_size --help`.

Every file that the attack has written is opened again with plain Pillow and passed through torchvision's transforms to
the bare network, in code that shares nothing with the attack.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for

COUNT = 12
K = 7
STEPS = 10


class Network(NamedTuple):
    """A network and its usual preprocessing."""

    load: Callable[[], Any]
    size: int
    resize: int
    bicubic: bool


class Setting(NamedTuple):
    """File format and budget of the attack, and its target."""

    saved: str
    levels: int
    least: int
    """Target: number of photographs whose saved file still fools the network."""


def _mobilenet() -> Any:
    from tests.peers.photographs import shared_classifier

    return shared_classifier("imagenet-mobilenet_v1-0.75-192", 192, 219)


def _lite(name: str) -> Callable[[], Any]:
    def load() -> Any:
        from advbench.models import load_model

        return load_model(name)

    return load


NETWORKS = {  # the targets were set for the first
    "imagenet-mobilenet_v1-0.75-192": Network(_mobilenet, 192, 219, bicubic=False),
    "efficientnet_lite0": Network(_lite("efficientnet_lite0"), 224, 256, bicubic=True),
    "efficientnet_lite2": Network(_lite("efficientnet_lite2"), 260, 292, bicubic=True),
}
SETTINGS = (Setting("png", 1, 11), Setting("jpeg:95", 2, 9), Setting("jpeg:95", 4, 11))

_HEAD = """# Photographs at their own size

Made by `python -m tests.peers.original_size` on {processor}; the numbers are in `original_size.json`.

`advbench attack --size original --param steps=10` attacks twelve photographs (a tiger, and eleven from ImageNet spread
over its classes) with `topk`: none of the original top seven classes may remain in the top seven, with a margin of one
logit. Each written file is then opened again with plain Pillow and passed through torchvision's `Resize`, `CenterCrop`,
`ToTensor` and `Normalize` to the bare network, in code that shares nothing with the attack. **Held** counts the files
for which none of the photograph's original top seven classes is still in the top seven. **Size** is the largest
perturbation allowed; **median Linf** is the size of the perturbations found, before saving.

The short side of the photographs is 256 pixels (the tiger: 279). lite0 resizes the short side to 256, so it sees eleven
of them without a resize; the other networks resize all of them. *Plain rounding* is the same attack without the later
stages: through torch's resize in floats, with no margin, rounded to the nearest level.

| Network | Saved as | Size | Held | Target | Plain rounding | Median Linf | Median PSNR | Median seconds |
|---|---|--:|--:|--:|--:|--:|--:|--:|
"""


def main() -> None:
    parser = parser_for("original_size", __doc__)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="networks to attack; default: all")
    parser.add_argument("--count", type=int, default=COUNT, help=f"number of photographs; default: {COUNT}")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "original_size", page)
    if options.page:
        report.rewrite_page()
        return
    results = report.stored()
    for key, rows in _measured(options, results):
        results[key] = rows
        report.save(results)


def _measured(options: argparse.Namespace, results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each setting of each network with the photographs measured so far, after every photograph."""
    for name, network in NETWORKS.items():
        model = None
        if options.networks and name not in options.networks:
            continue
        for setting in SETTINGS:
            key = f"{name} {setting.saved} {setting.levels}"
            rows = {} if options.again else dict(results.get(key, {}))
            for photograph in photographs(options.count):
                if photograph.name in rows:
                    continue
                model = model or network.load()
                rows[photograph.name] = row = measure(model, network, setting, photograph) | {"processor": processor()}
                print(f"{key} {photograph.name}: {row}", flush=True)
                yield key, rows


def photographs(count: int) -> list[Path]:
    """The tiger, and photographs spread evenly over the classes."""
    from tests.peers.photographs import photographs as all_photographs
    from tests.peers.victims import SHARED

    rest = all_photographs()
    return [SHARED / "data/tiger.jpg", *rest[:: len(rest) // (COUNT - 1)]][:count]


def measure(model: Any, network: Network, setting: Setting, path: Path) -> dict[str, Any]:
    """Attack one photograph and check the file that was written."""
    before = first_classes(model, network, path)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        outcome = _attacked(model, setting, path, Path(folder))
        seconds = time.perf_counter() - start
        file = next(file for name, file in outcome.files.items() if name.startswith("adversarial"))
        after = first_classes(model, network, file)
        return {
            "held": not set(before) & set(after),
            "met": outcome.record.met,
            "linf": outcome.record.linf,
            "of_the_file": outcome.read_back.linf,
            "of_saving": outcome.read_back.saving,
            "psnr": _psnr(path, file),
            "plain": _by_plain_rounding(model, network, setting, path, before) if setting.saved == "png" else None,
            "seconds": round(seconds, 1),
        }


def first_classes(model: Any, network: Network, file: Path | io.BytesIO) -> list[int]:
    """The top seven classes of the picture in a file, by Pillow, torchvision and the bare network."""
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    how = InterpolationMode.BICUBIC if network.bicubic else InterpolationMode.BILINEAR
    prepare = transforms.Compose(
        [
            transforms.Resize(network.resize, interpolation=how, antialias=True),
            transforms.CenterCrop(network.size),
            transforms.ToTensor(),
            transforms.Normalize(model.mean, model.std),
        ]
    )
    with Image.open(file) as picture, torch.no_grad():
        logits = model.module(prepare(picture.convert("RGB")).unsqueeze(0))
    found: list[int] = logits[0].topk(K).indices.tolist()
    return found


def _attacked(model: Any, setting: Setting, path: Path, folder: Path) -> Any:
    from advbench.config.attack import AttackConfig
    from advbench.config.pictures.photograph import DEFAULT_KAPPA, ORIGINAL, parse_saved_as
    from advbench.pictures.original.attack import attack_photograph
    from advbench.pictures.original.photograph import read_photograph
    from advbench.pictures.sessions.session import open_sessions
    from attacks import TopK

    config = AttackConfig(
        paths=(path,),
        model=model.name,
        eps=setting.levels / 255,
        size=ORIGINAL,
        saved_as=parse_saved_as(setting.saved),
        kappa=DEFAULT_KAPPA,
    )
    photograph = read_photograph(path, model, config.saved_as)
    session = open_sessions(config, model, [TopK(steps=STEPS)])
    return attack_photograph(session, photograph, path.stem, folder, lambda: None)


def _by_plain_rounding(model: Any, network: Network, setting: Setting, path: Path, before: list[int]) -> bool:
    """Whether an attack through torch's resize, without the later stages, survives rounding and saving."""
    import torch

    from advbench.config.pictures.photograph import parse_saved_as
    from advbench.pictures.original.model import AtOwnSize
    from advbench.pictures.original.photograph import read_photograph
    from attacks import TopK, TopKExclusion

    photograph = read_photograph(path, model, parse_saved_as(setting.saved))
    x, smooth = photograph.pixels.unsqueeze(0), AtOwnSize(model, photograph).exact_form
    with torch.no_grad():
        goal = TopKExclusion.from_logits(smooth(x), K)
    file = photograph.file(TopK(steps=STEPS)(smooth, x, goal, eps=setting.levels / 255)[0])
    return not set(before) & set(first_classes(model, network, io.BytesIO(file)))


def _psnr(one: Path, other: Path) -> float:
    """Peak signal-to-noise ratio between two pictures, dB."""
    import numpy as np
    from PIL import Image

    first, second = (np.asarray(Image.open(file).convert("RGB"), dtype=float) for file in (one, other))
    return round(float(10 * np.log10(255**2 / max(np.square(first - second).mean(), 1e-9))), 1)


def page(results: dict[str, Any]) -> str:
    """The page with the results."""
    from statistics import median

    measured = (row for rows in results.values() for row in rows.values())
    text = _HEAD.format(processor=processors(measured))
    for name in NETWORKS:
        for setting in SETTINGS:
            rows = list(results.get(f"{name} {setting.saved} {setting.levels}", {}).values())
            if not rows:
                continue
            plain = [row["plain"] for row in rows if row["plain"] is not None]
            sizes = [row["linf"] * 255 for row in rows if row["linf"] is not None]
            held = f"{sum(row['held'] for row in rows)} of {len(rows)}"
            text += (
                f"| {name} | {setting.saved} | {setting.levels}/255 | {held} "
                f"| {setting.least} | {f'{sum(plain)} of {len(plain)}' if plain else '-'} "
                f"| {f'{median(sizes):.2g}/255' if sizes else '-'} | {median(row['psnr'] for row in rows):.1f} dB "
                f"| {median(row['seconds'] for row in rows):.0f} |\n"
            )
    every = [row for rows in results.values() for row in rows.values()]
    apart = sum(row["held"] != bool(row["met"]) for row in every)
    text += f"\nThe independent reading contradicts the record's `met` on {apart} of {len(every)} files.\n"
    lossy = [row for key, rows in results.items() if "jpeg" in key for row in rows.values()]
    if lossy:
        saved, alone = (255 * median(row[name] for row in lossy) for name in ("of_the_file", "of_saving"))
        text += (
            f"\nA saved JPEG differs from its photograph by more than the perturbation: the largest difference is "
            f"{saved:.0f}/255 (median), and {alone:.0f}/255 for the unperturbed photograph saved the same way.\n"
        )
    return text


if __name__ == "__main__":
    main()
