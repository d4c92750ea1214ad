"""Images in memory: what comes back is what was kept, bit for bit, and no more is kept than there is room for."""

from pathlib import Path

import pytest
import torch

from advbench.datasets.images.cache import KeptImages
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError

EIGHT_BITS = torch.arange(256).reshape(1, 16, 16) / 255
FLOATS = torch.linspace(0, 1, 256).reshape(1, 16, 16).pow(2)


@pytest.mark.parametrize(
    "image",
    [EIGHT_BITS, FLOATS, EIGHT_BITS.transpose(1, 2), torch.full((3, 2, 2), -0.0), torch.full((1, 2, 2), 1e-30)],
)
def test_an_image_comes_back_bit_for_bit(image: torch.Tensor) -> None:
    kept = KeptImages(limit=4096)
    kept.keep("key", image)
    found = kept.get("key")
    assert found is not None
    assert found.dtype == torch.float32
    assert found.contiguous().numpy().tobytes() == image.contiguous().numpy().tobytes()


def test_images_of_eight_bits_take_a_byte_for_each_value() -> None:
    kept = KeptImages(limit=512)
    for key, image in enumerate((EIGHT_BITS, EIGHT_BITS, EIGHT_BITS)):
        kept.keep(key, image)
    assert [kept.get(key) is not None for key in range(3)] == [True, True, False]


def test_images_of_floats_take_four() -> None:
    kept = KeptImages(limit=1024)
    kept.keep(0, FLOATS)
    kept.keep(1, FLOATS)
    assert [kept.get(key) is not None for key in range(2)] == [True, False]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_stream_refuses_pictures_of_several_sizes(batch_size: int) -> None:
    sizes = {Path("a.png"): (3, 2, 4), Path("b.png"): (3, 4, 2)}
    stream = PictureStream([*sizes], lambda path: torch.zeros(sizes[path]), batch_size=batch_size)
    with pytest.raises(UserError, match=r"several sizes, such as 4 x 2 \('a\.png'\) and 2 x 4 \('b\.png'\) pixels"):
        list(stream)
