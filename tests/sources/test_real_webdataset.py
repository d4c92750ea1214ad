"""Shards that the package webdataset writes are read as it reads them."""

import numpy as np
import pytest
from encoded_images import encoded, pixels

from advbench.datasets import load_dataset

webdataset = pytest.importorskip("webdataset", reason="the package webdataset is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_of_its_writer(tmp_path, kind, label):
    pattern = str(tmp_path / "val-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=4, verbose=0) as writer:
        for number in range(10):
            picture = encoded(number) if kind == "png" else encoded(number, kind="WEBP")
            value = number % 3 if label == "cls" else {"label": number % 3}
            writer.write({"__key__": f"a/{number:06}", kind: picture, label: value})
    dataset = load_dataset("webdataset", tmp_path / "val-{000..002}.tar")
    assert dataset.labels == tuple(number % 3 for number in range(10))
    theirs = webdataset.WebDataset(str(tmp_path / "val-{000..002}.tar"), shardshuffle=False).decode("pil")
    for number, sample in enumerate(theirs):
        assert dataset.images[number] == sample["__key__"]
        assert np.array_equal(np.asarray(dataset.read(number)), np.asarray(sample[kind].convert("RGB")))
        assert kind == "webp" or np.array_equal(np.asarray(dataset.read(number)), pixels(number))
    assert number == 9
