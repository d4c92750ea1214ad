"""Tar shards in WebDataset format: the members of a sample share a name and are adjacent.

The shards are read with the standard library's `tarfile`, not with the package `webdataset`: that reads only
sequentially, so that image 40,000 cannot be read without those before it; its `decode()` unpickles `.pkl` and `.pth`
members and runs `pipe:` commands. Here pictures, `.cls`, `.json` and `.txt` members are read and all others skipped;
nothing is extracted, and the index holds the position of each picture.
"""

import json
import re
import tarfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import MAX_BYTES, PictureError, decode_picture
from advbench.datasets.sources.label_sets import truth_of
from advbench.datasets.sources.shards import shards
from advbench.errors import UserError, reason
from advbench.sanitize import display_name

PICTURES = ("png", "jpg", "jpeg", "webp", "bmp")
"""Extensions of pictures."""
LABELS = ("cls", "json", "txt")
"""Extensions of labels, of which the first that a sample has is used."""
JSON_KEYS = ("label", "cls", "class", "target", "y")
"""Keys of the label in a `.json` member."""
MAX_LABEL = 1_000_000
"""Maximum size in bytes of a member with a label."""

_BLOCK = 512
_NAME = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<extension>[^/]+)")


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of data sets of tar shards.

    Args:
        card: Card of the data set.
        source: A shard, a folder or a pattern such as `val-{000..049}.tar`; a split for a folder that holds several;
            as `image_column` the extension of the pictures, as `label_column` that of the labels or a key of `.json`.

    Raises:
        UserError: A shard cannot be read, holds paths that leave it, links, the same member twice, or samples whose
            members are not adjacent; or a sample has no picture or no label.
    """
    path = source.path or Path()
    files = shards(path, ".tar", source.split)
    index = _Index()
    for number, file in enumerate(files):
        _add(index, number, file, source)
    where = f"labels of {display_name(path, limit=200)}"
    truth = truth_of(_labels(index, where), len(index.keys), where)

    def read(number: int) -> Image.Image:
        file = files[index.shards[number]]
        what = f"{index.keys[number]} in {file}"
        if index.sizes[number] > MAX_BYTES:
            raise PictureError(what, f"the picture has more than {MAX_BYTES / 1e6:.0f} MB; save a smaller copy")
        try:
            with file.open("rb") as tar:
                tar.seek(index.offsets[number])
                data = tar.read(index.sizes[number])
        except OSError as error:
            raise PictureError(what, f"{reason(error)}; check that the shard is still there") from None
        return decode_picture(data, what)

    return Dataset(name=card.name, images=_names(index), read=read, **truth._asdict())


class _Index:
    """Positions of the pictures, and the labels."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.shards, self.offsets, self.sizes = array("l"), array("q"), array("q")
        self.labels: list[Any] = []


class _Member(NamedTuple):
    key: str
    extension: str
    offset: int
    size: int


def _add(index: _Index, number: int, file: Path, source: DataSource) -> None:
    """Add the samples of a shard."""
    shown = display_name(file, limit=200)
    seen: set[str] = set()
    try:
        with file.open("rb") as tar:

            def read(member: _Member) -> bytes:
                tar.seek(member.offset)
                return tar.read(member.size)

            for sample in _samples(file):
                key = sample[0].key
                if key in seen:
                    hint = "write each sample's members one after the other, as webdataset.ShardWriter does"
                    raise UserError(f"the members of {display_name(key)} are not adjacent in {shown}", hint=hint)
                seen.add(key)
                picture = _picture(sample, source.image_column, shown)
                index.labels.append(_label(sample, source.label_column, read, shown))
                index.keys.append(key)
                index.shards.append(number)
                index.offsets.append(picture.offset)
                index.sizes.append(picture.size)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{shown} cannot be read as tar: {reason(error)}", hint=_AGAIN) from None


_AGAIN = "fetch or write it again; compressed shards (.tar.gz) have to be unpacked with gunzip first"


def _samples(file: Path) -> Iterator[list[_Member]]:
    """The members of a shard, grouped by sample, in order."""
    sample: list[_Member] = []
    shown = display_name(file, limit=200)
    for member in _members(file, shown):
        if sample and member.key != sample[0].key:
            yield sample
            sample = []
        if any(member.extension == other.extension for other in sample):
            name = display_name(f"{member.key}.{member.extension}")
            raise UserError(f"{name} occurs twice in {shown}", hint="write the shard again, with a key for each sample")
        sample.append(member)
    if sample:
        yield sample


def _members(file: Path, shown: str) -> Iterator[_Member]:
    with tarfile.open(file, "r:") as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else all 100,000 stay in memory
            path = PurePosixPath(entry.name)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.name:
                hint = "do not unpack it: it may be meant to overwrite your files"
                raise UserError(f"{shown} holds the path '{display_name(entry.name)}', which leaves it", hint=hint)
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                message = f"{shown} holds '{display_name(entry.name)}', which is a link, a device or sparse"
                raise UserError(message, hint="write the shard again, with regular files only")
            found = _NAME.fullmatch(str(path))
            if found and not path.name.startswith("__"):
                yield _Member(found["key"], found["extension"].lower(), entry.offset_data, entry.size)
        _check_end(file, tar.offset, shown)


def _check_end(file: Path, offset: int, shown: str) -> None:
    """Refuse a shard without the empty block at the end of every archive, which tarfile would accept."""
    with file.open("rb") as tar:
        tar.seek(offset)
        if tar.read(_BLOCK) != bytes(_BLOCK):
            raise UserError(f"{shown} is damaged or cut short at byte {offset:,}", hint=_AGAIN)


def _picture(sample: list[_Member], named: str | None, shown: str) -> _Member:
    if named is not None:
        found = [member for member in sample if member.extension == named.lower().removeprefix(".")]
    else:
        found = [member for member in sample if member.extension.rpartition(".")[2] in PICTURES]
        plain = [member for member in found if member.extension in PICTURES]
        found = plain if len(plain) == 1 else found
    if len(found) == 1:
        return found[0]
    there = ", ".join(display_name(member.extension) for member in sample[:20])
    key = f"sample {display_name(sample[0].key)} of {shown}"
    if found:
        raise UserError(
            f"{key} has several pictures: {there}", hint=f'choose one: image_column = "{found[0].extension}"'
        )
    kinds = named or " ".join(PICTURES)
    raise UserError(f"{key} has no picture ({kinds}), but {there}", hint="write a picture into each sample")


def _label(sample: list[_Member], named: str | None, read: Callable[[_Member], bytes], shown: str) -> Any:
    """The label of a sample as written: a number, a list or a text."""
    members = {member.extension: member for member in sample}
    extension = (named or "").lower().removeprefix(".")
    if extension not in members:
        extension = next((each for each in (("json",) if named else LABELS) if each in members), "")
    key = f"sample {display_name(sample[0].key)} of {shown}"
    if not extension:
        there = ", ".join(map(display_name, list(members)[:20]))
        wanted = named or " or ".join(LABELS)
        raise UserError(f"{key} has no label ({wanted}), but {there}", hint='say where it is: label_column = "..."')
    member = members[extension]
    if member.size > MAX_LABEL:
        raise UserError(f"{key} has a label of {member.size:,} bytes", hint="a label is a number or a name")
    try:
        text = read(member).decode()
        value = json.loads(text) if extension.rpartition(".")[2] == "json" else text.strip()
    except (ValueError, RecursionError):
        raise UserError(f"the .{extension} of {key} is not text, or not JSON", hint=_AGAIN) from None
    return _value_in(value, named, key) if isinstance(value, dict) else value


def _value_in(found: dict[str, Any], named: str | None, key: str) -> Any:
    keys = (named,) if named and named != "json" else JSON_KEYS
    for each in keys:
        if each in found:
            return found[each]
    there = ", ".join(map(display_name, list(found)[:20]))
    raise UserError(f"the .json of {key} has no {' or '.join(keys)}, but {there}", hint='name it: label_column = "..."')


def _labels(index: _Index, where: str) -> list[Any]:
    """The labels of all samples, which must be of one kind."""
    kinds = {type(label) for label in index.labels}
    if str in kinds and len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UserError(f"{where} are of several kinds: {names}", hint="write all as numbers, or all as names")
    return index.labels


def _names(index: _Index) -> tuple[str, ...]:
    """The keys, with the number of the shard appended if two shards share one."""
    if len(set(index.keys)) == len(index.keys):
        return tuple(index.keys)
    return tuple(f"{shard}:{key}" for shard, key in zip(index.shards, index.keys, strict=True))
