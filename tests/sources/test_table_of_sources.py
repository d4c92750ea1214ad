"""Every row of the guide's tables of sources: its command runs as it stands there, on tiny files made here."""

import importlib.util
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from advbench import load_dataset, load_model
from advbench.cli.main import main
from advbench.datasets.samples import samples

ROOT = Path(__file__).parents[2]
TABLES = (ROOT / "advbench/guide/howto/sources.md").read_text(encoding="utf-8").partition("\n## ")[0]
COUNT = 12
NETS = """
from torch import nn

def net():
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * 49, 10))

def int8():
    network = net().eval()
    return lambda x: (network(x.detach()) * 64).round() / 64
"""


def picture(number: int) -> Any:
    return load_dataset("mnist").read(number)


def png(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def labels() -> list[int]:
    found = load_dataset("mnist").labels
    assert found is not None
    return list(found[:COUNT])


def folder() -> None:
    for number, label in enumerate(labels()):
        Path("val", str(label)).mkdir(parents=True, exist_ok=True)
        picture(number).save(Path("val", str(label), f"{number}.png"))


def arrays() -> None:
    np.savez(
        "digits.npz", x=np.stack([np.asarray(picture(number).convert("L")) for number in range(COUNT)]), y=labels()
    )


def parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path("shards").mkdir()
    images = pa.array([{"bytes": png(number), "path": None} for number in range(COUNT)])
    pq.write_table(pa.table({"image": images, "label": labels()}), "shards/test-00000-of-00001.parquet")


def webdataset() -> None:
    for shard in range(2):
        with tarfile.open(f"val-00{shard}.tar", "w") as tar:
            for number in range(shard, COUNT, 2):
                for name, content in (
                    (f"{number}.png", png(number)),
                    (f"{number}.cls", str(labels()[number]).encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def hub() -> None:
    import datasets

    names = datasets.ClassLabel(names=[str(digit) for digit in range(10)])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    rows = {"image": [{"bytes": png(number), "path": None} for number in range(COUNT)], "label": labels()}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk("saved")


def photographs() -> None:
    ids = {1: "n01443537", 6: "n01498041"}  # goldfish and stingray, which are in ImageNet-A too
    for wordnet_id in ids.values():
        place = Path("data", "val", wordnet_id)
        place.mkdir(parents=True)
        for number, each in enumerate(samples("imagenet")[:3]):
            (place / f"{number}.JPEG").write_bytes(each.path.read_bytes())


def nets() -> None:
    Path("nets.py").write_text(NETS, encoding="utf-8")


def exported() -> None:
    network = load_model("lenet").module.eval()
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 28, 28),)), "net.pt2")
    described()


def described() -> None:
    Path("net.toml").write_text("input_size = 28\n", encoding="utf-8")


def onnx() -> None:
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "dynamo": False}
    network = load_model("lenet").module.eval()
    torch.onnx.export(network, (torch.rand(1, 1, 28, 28),), "net.onnx", **names, dynamic_axes={"image": {0: "n"}})
    described()


def keras() -> None:
    import keras as package

    layers = package.layers
    package.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)]).save("net.keras")


def timm() -> None:
    import timm as package
    from safetensors.torch import save_file

    save_file(package.create_model("resnet18", pretrained=False).state_dict(), "resnet18.safetensors")


def transformers() -> None:
    import transformers as package

    config = package.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8,
        num_labels=10,
    )  # fmt: skip
    package.ViTForImageClassification(config).save_pretrained("vit")
    package.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("vit")


def open_clip() -> None:
    import open_clip as package
    from safetensors.torch import save_file

    sized = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": sized, "text_cfg": text}
    Path("tiny").mkdir()
    said = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    Path("tiny/open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": said}))
    state = {name: value.contiguous() for name, value in package.CLIP(**config).state_dict().items()}
    save_file(state, "tiny/open_clip_model.safetensors")
    Path("names.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")


MADE: dict[str, Callable[[], None]] = {
    "folder:PATH": folder,
    "arrays:FILE": arrays,
    "parquet:PATH": parquet,
    "webdataset:PATTERN": webdataset,
    "hf/./FOLDER": hub,
    "imagenet": photographs,
    "imagenet-a:PATH": photographs,
    "FILE.py:NAME": nets,
    "--gradients-from": nets,
    "net.pt2": exported,
    "net.onnx": onnx,
    "net.keras": keras,
    "timm/NAME": timm,
    "FOLDER/": transformers,
    "clip/ARCH:TAG": open_clip,
    "robustbench/DATA/THREAT/NAME": lambda: None,
}
"""A name in the table -> what makes the files that the command of its row needs."""
PACKAGES = {
    "hf/./FOLDER": "datasets.exceptions",
    "net.keras": "keras",
    "timm/NAME": "timm",
    "net.onnx": "onnxruntime",
    "FOLDER/": "transformers",
    "clip/ARCH:TAG": "open_clip",
    "robustbench/DATA/THREAT/NAME": "robustbench",
}
"""A name in the table -> the package that its row needs."""


def rows() -> list[Any]:
    """Name and command of each row."""
    found = []
    for line in TABLES.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[-1].startswith("`"):
            names = [name for name in re.findall("`([^`]+)`", cells[1]) if name in MADE]
            assert names, f"nothing makes the files of {line}"
            found.append(pytest.param(names[-1], cells[-1].strip("`"), id=names[-1]))
    return found


def is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def test_every_maker_has_a_row() -> None:
    assert {row.values[0] for row in rows()} == set(MADE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter to ONNX that needs no other package
@pytest.mark.parametrize(("name", "command"), rows())
def test_the_command_of_each_source(name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in PACKAGES and not is_there(PACKAGES[name]):
        pytest.skip(f"the package {PACKAGES[name]} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    torch.manual_seed(0)
    MADE[name]()
    picture(0).save("digit.png")
    words = shlex.split(command)
    if words[1] == "attack":
        words += ["--attack", "fgsm", "--goal", "untargeted", "--quiet"]
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, f"{command}\n{result.output}"
    assert "Traceback" not in result.output
