"""Which files a path stands for."""

import pytest

from advbench.datasets.sources.shards import expanded, shards
from advbench.errors import UserError


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{2..0}", ["a-2", "a-1", "a-0"]),
        ("{a,b}{0..1}", ["a0", "a1", "b0", "b1"]),
        ("{x}-{000..001}", ["{x}-000", "{x}-001"]),
    ],
)
def test_braces(pattern, names):
    assert expanded(pattern) == names


@pytest.mark.parametrize("pattern", ["{0..999999999}", "{0..9999}{0..9999}", "{0..9}" * 9])
def test_a_pattern_for_more_files_than_anybody_has(pattern):
    with pytest.raises(UserError, match="expands to more than 100,000 files"):
        expanded(pattern)


def test_splits_are_told_by_file_or_folder(tmp_path):
    for name in ("test/0.x", "train/0.x", "validation-0.x", "devices.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in shards(tmp_path, ".x")] == ["0.x"]
    assert shards(tmp_path, ".x", "val") == (tmp_path / "validation-0.x",)
    assert shards(tmp_path, ".x", "dev") == (tmp_path / "validation-0.x",)
    assert shards(tmp_path, ".x", "devices") == (tmp_path / "devices.x",)
    with pytest.raises(UserError, match=r"there is no split 'fold3' in .*\nthere are: files without a split, test"):
        shards(tmp_path, ".x", "fold3")
    with pytest.raises(UserError, match=r"there are no \.y files in"):
        shards(tmp_path, ".y")
