"""Archives tampered with at random are found by both checkers, every one of them.

Found means: the checker does not say that every claim holds. Where whoever tampers makes all digests fit again, what is
left to find is what is no longer true: what is changed there makes something false. Claims edited into other true ones
are another archive, which the digest of the file that its maker gave out tells from the first; that is tested too.
"""

import json
import random

import evidence_runs
import numpy as np
import pytest
import torch
from evidence_runs import as_onnx, classifier, edited, members, network, packed, png

from advbench.errors import UserError
from advbench.evidence import standalone
from advbench.evidence.archive import read_archive
from advbench.evidence.checking import check_archive


def a_byte(content, chance):
    """Some bytes anywhere in the file, times and names of the zip included, are others."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 50))):
        found[chance.randrange(len(found))] ^= chance.randrange(1, 256)
    return bytes(found)


def a_cut(content, chance):
    """A piece is lost, doubled, or put somewhere else."""
    start, length = chance.randrange(len(content)), chance.randrange(1, 1000)
    piece, rest = content[start : start + length], content[:start] + content[start + length :]
    place = chance.randrange(len(rest))
    return chance.choice(
        (rest, content[:start] + piece * 2 + content[start:], rest[:place] + piece[::-1] + rest[place:])
    )


def swapped(content, chance, folder):
    """Two different pictures of a folder have changed places, and the digest fits."""
    files = members(content)
    names = sorted(name for name in files if name.startswith(folder))
    while True:
        one, other = chance.sample(names, 2)
        if files[one] != files[other]:
            files[one], files[other] = files[other], files[one]
            return packed(files)


def swapped_clean(content, chance):
    """Two clean images have changed places."""
    return swapped(content, chance, "images/")


def swapped_change(content, chance):
    """The changes of two images have changed places."""
    claims = json.loads(members(content)["claims.json"])
    # two changes of the same size may both fool the other image: then the claims are as true as before
    number = chance.randrange(len(claims["threats"]))
    sizes = claims["threats"][number]["sizes"]
    there = [i for i, size in enumerate(sizes) if size is not None]
    for _ in range(100):
        one, other = chance.sample(there, 2) if len(there) > 1 else (0, 0)
        if one != other and sizes[one] != sizes[other]:
            files = members(content)
            one, other = (f"deltas/{number}/{i}.png" for i in (one, other))
            files[one], files[other] = files[other], files[one]
            return packed(files)
    return swapped_clean(content, chance)


def another_picture(content, chance):
    """One value of a picture is another, and the digest fits."""
    files = members(content)
    name = chance.choice(sorted(name for name in files if name.endswith(".png")))
    values = np.array(evidence_runs.opened(files[name]))
    place = tuple(chance.randrange(side) for side in values.shape)
    # of a change so much that its size is another in every norm
    values[place] = (int(values[place]) + 128) % 256 if name.startswith("deltas") else values[place] ^ 1
    return packed(files | {name: png(values)})


def a_claim(content, chance):
    """A number that is claimed is another, and the digest fits."""

    def change(claims):
        threat, data = chance.choice(claims["threats"]), claims["data"][0]
        level = chance.choice(threat["levels"])
        what = chance.choice(
            ("images", "wrong", "fooled", "robust", "low", "high", "sizes", "clean_class", "lead", "ids")
        )
        if what in level:
            level[what] += chance.choice((-1, 1, 2)) if what not in ("low", "high") else chance.uniform(1e-5, 0.1)
            return
        values = threat["sizes"] if what == "sizes" else data[what]
        place = chance.choice([i for i, each in enumerate(values) if each is not None])
        known = values[place]
        if what == "ids":
            values[place] = f"{chance.getrandbits(64):016x}"
        elif what == "clean_class":
            values[place] = (known + 1) % evidence_runs.CLASSES
        else:
            values[place] = known + chance.choice((0.5, 2.0))  # of a lead more than other arithmetic may change

    return edited(content, change)


def a_file(content, chance):
    """A file is gone, or there is one more, and the digest fits."""
    files = members(content)
    if chance.random() < 0.5:
        del files[chance.choice([*files])]
    else:
        files[f"deltas/0/{chance.randrange(100, 200)}.png"] = next(iter(files.values()))
    return packed(files)


TAMPERINGS = (a_byte, a_cut, swapped_clean, swapped_change, another_picture, a_claim, a_file)


def other_weights(chance):
    """The network with weights that are a little different, or with those of another."""
    net = network(seed=chance.choice((0, 0, 0, 7)))
    generator = torch.Generator().manual_seed(chance.getrandbits(32))
    with torch.no_grad():
        for each in net.parameters():
            each += each.abs().mean() * chance.choice((0.1, 0.3, 1.0)) * torch.randn(each.shape, generator=generator)
    return net


def found_by_both(content, tmp_path, net=None):
    """Whether each of the checkers finds something; a file that cannot be read is found too."""
    path, net = tmp_path / "evidence.zip", network() if net is None else net
    path.write_bytes(content)
    try:
        mine = bool(check_archive(read_archive(path), classifier(net)).problems)
    except UserError:
        mine = True
    try:
        theirs = bool(standalone.check(content, as_onnx(net), converted=True)[0])
    except Exception:  # as its `main` says then that the archive cannot be checked
        theirs = True
    return mine, theirs


def missed(content, tmp_path, count):
    """The tamperings that one of the checkers does not find."""
    wrong = []
    for seed in range(count):
        chance = random.Random(seed)
        how = chance.choice((*TAMPERINGS, other_weights))
        if how is other_weights:
            found = found_by_both(content, tmp_path, other_weights(chance))
        else:
            tampered = how(content, chance)
            assert tampered != content, how.__name__
            found = found_by_both(tampered, tmp_path)
        wrong += [] if all(found) else [(seed, how.__name__, found)]
    return wrong


def test_what_is_not_tampered_with_is_not_found(given, tmp_path):
    assert found_by_both(given.content, tmp_path) == (False, False)
    assert found_by_both(packed(members(given.content)), tmp_path) == (False, False)


def test_a_hundred_tamperings_are_found(given, tmp_path):
    assert missed(given.content, tmp_path, 100) == []


@pytest.mark.slow
def test_a_thousand_tamperings_are_found(given, tmp_path):
    assert missed(given.content, tmp_path, 1000) == []


@pytest.mark.parametrize("name", ["README.txt", "report.json", "manifest.json"])
def test_every_byte_counts_also_where_nothing_is_claimed(given, name):
    place = given.content.index(name.encode()) + 60
    found = bytearray(given.content)
    found[place] ^= 1
    problems, _ = standalone.check(bytes(found), given.onnx.read_bytes())
    assert problems == ["the file was truncated or changed after it was made"]


def test_claims_edited_into_other_true_ones_are_told_by_the_digest_that_was_given_out(given, tmp_path):
    weaker = edited(given.content, lambda claims: claims["threats"].clear() or _without_changes(claims))
    files = {name: each for name, each in members(weaker).items() if not name.startswith("deltas")}
    (tmp_path / "weaker.zip").write_bytes(packed(files))
    weaker = read_archive(tmp_path / "weaker.zip")
    assert check_archive(weaker, classifier()).problems == []
    assert weaker.sha256 != given.archive.sha256


def _without_changes(claims):
    """Nothing is left to claim but the clean images."""
    claims["threats"] = []
