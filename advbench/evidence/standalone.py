"""Check an evidence archive without advbench: does every image in it fool the model as claimed?

    python check.py evidence.zip model.onnx [--converted]

Needs numpy, Pillow and onnxruntime. --converted is for a model whose digest is not in the archive: it takes images
(N, C, H, W) from 0 to 1, and only its outputs are compared. Exit code 0: every claim holds; 1: not all; 2: unreadable.
"""

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MARK = b"sha256-of-this-file-with-zeros-here:"
LIMIT, TOTAL = 2**26, 2**31  # most bytes of one file in it, and of all its images once they are decoded
FIXED = {"README.txt", "check.py", "claims.json", "manifest.json", "report.json"}
GOAL = r"untargeted|(targeted|topk-exclusion|label-out-of-topk):\d+|ordered-topk:\d+(,\d+)*"


def ask(model: Any, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The logits (C,) of each 8-bit image (C, H, W); a model is an onnxruntime session, mean and divisor."""
    (given,) = model[0].get_inputs()
    kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(given.type, np.float32)
    mean, std = (np.array(each, np.float32).reshape(-1, 1, 1) for each in model[1:])
    count = given.shape[0] if isinstance(given.shape[0], int) else 32
    for start in range(0, len(images), count):
        group = [images[min(i, len(images) - 1)] for i in range(start, start + count)]  # the last is filled up
        x = (np.stack(group).astype(np.float32) / np.float32(255) - mean) / std
        answers = model[0].run(None, {given.name: x.astype(kind)})[0].astype(np.float64)
        if np.isnan(answers).any():
            raise ValueError("the model answers with NaN")
        if answers.min() >= 0 and np.allclose(answers.sum(1), 1, atol=1e-3):
            answers = np.log(np.maximum(answers, 1e-38))  # of probabilities
        yield from answers[: len(images) - start]


def pixels(archive: zipfile.ZipFile, name: str, shape: Sequence[int]) -> np.ndarray:
    """The values (C, H, W) of a PNG: RGB for three channels, else the channels stacked vertically in grey."""
    channels, height, width = shape
    picture = Image.open(io.BytesIO(archive.read(name)), formats=["PNG"])
    expected = ("RGB", (width, height)) if channels == 3 else ("L", (width, channels * height))
    if (picture.mode, picture.size) != expected:
        raise ValueError(f"{name} is {picture.mode} {picture.size}, not {expected}")
    values = np.asarray(picture)
    return values.transpose(2, 0, 1) if channels == 3 else values.reshape(channels, height, width)


def size_of(change: np.ndarray, norm: str) -> float:
    """The size of a change in grey levels, relative to white = 1; for l0 the number of changed values."""
    change = np.abs(change.astype(np.int64))
    sizes = {"linf": change.max(), "l2": np.sqrt((change**2).sum()), "l1": change.sum(), "l0": 255 * (change > 0).sum()}
    return float(sizes[norm] / 255)


def known(values: Sequence[Any]) -> list[int]:
    """The positions of values that are not None."""
    return [i for i, value in enumerate(values) if value is not None]


def wanted(goal: str) -> list[int]:
    """The classes that a goal wants first; none for goals that push classes out."""
    kind, _, rest = goal.partition(":")
    return [int(each) for each in rest.split(",")] if kind in ("targeted", "ordered-topk") else []


def margin(goal: str, logits: np.ndarray, clean: np.ndarray, label: int | None) -> float:
    """By how much the logits miss a goal, which is met below 0; without a label, the first clean class is used."""
    if first := wanted(goal):
        chain = [*logits[first], np.delete(logits, first).max()]
        return float(np.max([lower - higher for higher, lower in pairwise(chain)]))
    kind, _, rest = goal.partition(":")
    k, order = int(rest or 1), np.argsort(-clean, kind="stable")
    fallen = order[:k] if kind == "topk-exclusion" else order[:1] if label is None else [label]
    return float(logits[fallen].max() - np.sort(np.delete(logits, fallen))[-k])


def counted(data: dict[str, Any], threat: dict[str, Any], eps: float | None) -> dict[str, Any]:
    """The claim at an eps that follows from the outcome of each image, with Wilson's 95 % interval."""
    most = np.inf if eps is None else eps * (1 + 1e-5) + 1e-6  # tolerance for float32 rounding
    rows = [*zip(data["labels"], data["clean_class"], threat["sizes"], strict=True)]
    # images of the class that the goal wants count in no number
    rows = [row for row in rows if [row[1] if row[0] is None else row[0]] != wanted(threat["goal"])[:1]]
    right = [size for label, clean, size in rows if None in (label, clean) or label == clean]
    images, wrong, fooled = len(rows), len(rows) - len(right), sum(s is not None and s <= most for s in right)
    robust, n = len(right) - fooled, max(images, 1)
    share, z2 = robust / n, 1.959963984540054**2 / n
    half = np.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low = round(float((share + z2 / 2 - half) / (1 + z2)), 6) if robust else 0.0
    high = round(float((share + z2 / 2 + half) / (1 + z2)), 6) if robust < images else 1.0
    return {"eps": eps, "images": images, "wrong": wrong, "fooled": fooled, "robust": robust, "low": low, "high": high}


def expected(claims: dict[str, Any]) -> set[str]:
    """The exact set of files of an archive with these claims."""
    names = {f"images/{d}/{i}.png" for d, data in enumerate(claims["data"]) for i in known(data["clean_class"])}
    for number, threat in enumerate(claims["threats"]):
        for i in known(threat["sizes"]):
            names |= {f"deltas/{number}/{i}.png", f"images/{threat['data']}/{i}.png"}
    return names | FIXED


def clean_problems(archive: zipfile.ZipFile, number: int, data: dict[str, Any], model: Any) -> Iterator[str]:
    """Classify the clean images, which go into ``data`` with their logits."""
    there = [i for i in range(len(data["ids"])) if f"images/{number}/{i}.png" in archive.NameToInfo]
    data["images"] = {i: pixels(archive, f"images/{number}/{i}.png", data["shape"]) for i in there}
    data["logits"] = dict(zip(there, ask(model, [*data["images"].values()]), strict=True))
    for i, logits in data["logits"].items():
        what, claimed, values = f"data {number}, clean image {i}", data["clean_class"][i], data["images"][i]
        content = f"torch.float32 {values.shape} ".encode() + (values.astype(np.float32) / np.float32(255)).tobytes()
        if hashlib.sha256(content).hexdigest()[:16] != data["ids"][i]:
            yield f"{what}: it is not the image of that id"
        lead = np.diff(np.sort(logits)[-2:])[0]
        if claimed is not None and logits.argmax() != claimed:
            yield f"{what}: class {claimed} is claimed, and the model says {logits.argmax()}"
        elif claimed is not None and not abs(lead - data["lead"][i]) <= 1e-3 * np.abs(logits).max() + 0.01 * lead:
            yield f"{what}: its first class leads by {lead:.6g}, not by {data['lead'][i]:.6g}: these are other weights"


def threat_problems(archive: zipfile.ZipFile, number: int, claims: dict[str, Any], model: Any) -> Iterator[str]:
    """Measure and classify the adversarial images of a threat, and recount the claims."""
    threat = claims["threats"][number]
    data, goal, there = claims["data"][threat["data"]], threat["goal"], known(threat["sizes"])
    if not re.fullmatch(GOAL, goal):
        raise ValueError(f"there is no goal {goal!a}")
    deltas = [pixels(archive, f"deltas/{number}/{i}.png", data["shape"]) for i in there]
    images = [data["images"][i] + delta - np.uint8(128) for i, delta in zip(there, deltas, strict=True)]  # modulo 256
    for i, image, logits in zip(there, images, ask(model, images), strict=True):
        size, said = size_of(image.astype(np.int64) - data["images"][i], threat["norm"]), threat["sizes"][i]
        if not abs(size - said) <= 1e-9 * max(size, 1):
            yield f"threat {number}, image {i}: its change has the size {size:.6g}, not {said:.6g}"
        if not (missed := margin(goal, logits, data["logits"][i], data["labels"][i])) < 0:
            yield f"threat {number}, image {i}: the goal {goal} is missed by {missed:.6g}"
    for claim in threat["levels"]:
        if (found := counted(data, threat, claim["eps"])) != claim:
            yield f"threat {number}: {claim} is claimed, and {found} is counted"


def check(content: bytes, model: bytes, converted: bool = False) -> tuple[list[str], dict[str, Any]]:
    """The problems of an archive, and its claims."""
    import onnxruntime  # nothing else here needs it

    if not content[:-64].endswith(MARK):
        raise ValueError("it is not an evidence archive")
    if hashlib.sha256(content[:-64] + b"0" * 64).hexdigest().encode() != content[-64:]:
        return ["the file was truncated or changed after it was made"], {"threats": []}
    archive = zipfile.ZipFile(io.BytesIO(content))
    if max(info.file_size for info in archive.infolist()) > LIMIT:
        raise ValueError(f"a file in it is larger than {LIMIT} bytes")
    text = archive.read("claims.json").decode("ascii")
    claims: dict[str, Any] = json.loads(text)
    if claims["format"] != 1 or json.dumps(claims, sort_keys=True, separators=(",", ":"), allow_nan=False) != text:
        raise ValueError("claims.json is not of format 1, or not in its one canonical form")
    if sorted(archive.namelist()) != sorted(expected(claims)):
        raise ValueError("it does not contain exactly the files that its claims need")
    if sum(np.prod(data["shape"], dtype=float) for data in claims["data"]) * len(archive.namelist()) > TOTAL:
        raise ValueError(f"its images may have more than {TOTAL} values")
    own, digest, problems = claims["model"], hashlib.sha256(model).hexdigest(), list[str]()
    if digest not in (own["weights_sha256"], *own["onnx_sha256"]) and not converted:
        problems.append("the model's digest is not the one in the archive (--converted: compare only its outputs)")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    asked = (session, own["mean"], own["std"]) if digest == own["weights_sha256"] else (session, [0.0], [1.0])
    problems += [each for d, data in enumerate(claims["data"]) for each in clean_problems(archive, d, data, asked)]
    problems += [each for t in range(len(claims["threats"])) for each in threat_problems(archive, t, claims, asked)]
    return problems, claims


def main(arguments: Sequence[str]) -> int:
    """Check the files named on the command line, and print the findings."""
    files = [each for each in arguments if each != "--converted"]
    if len(files) != 2:
        print(__doc__)
        return 2
    try:
        content, model = (Path(each).read_bytes() for each in files)
        problems, claims = check(content, model, "--converted" in arguments)
    except Exception as error:  # the archive may come from a stranger
        print(f"cannot be checked: {type(error).__name__}: {str(error)[:300]!a}")
        return 2
    for threat in claims["threats"]:
        for level in threat["levels"]:
            share = "eps {eps}: at most {robust} of {images} robust [{low}, {high}]".format(**level)
            print(threat["goal"], threat["norm"], share)
    verdict = f"{len(problems)} problems: the claims do not hold" if problems else "every claim holds"
    print(*problems, f"sha256 {hashlib.sha256(content).hexdigest()}", verdict, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
