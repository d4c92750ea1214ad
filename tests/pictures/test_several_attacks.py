"""Several attacks on the same images: the smallest perturbation wins, image by image."""

from dataclasses import dataclass, replace

import pytest
import torch
from fakes import Crash, Fake

from advbench.evaluation.batch import BatchAttack
from advbench.evaluation.recording import Provenance, Sample
from advbench.pictures.sessions.several import attack_by_several
from advbench.records.record import OK, UNKNOWN
from attacks import Untargeted


@dataclass(frozen=True, kw_only=True)
class Lift(Fake):
    """Makes the second value of some images larger by so much."""

    by: float = 0.0
    rows: tuple[int, ...] = (0, 1)

    def cheat(self, x, eps):
        x_adv = x.clone()
        for row in self.rows:
            x_adv[row, 0, 0, 1] += self.by
        return x_adv


X = torch.tensor([[0.5, 0.4], [0.5, 0.3]]).reshape(2, 1, 1, 2)
SAMPLES = [Sample(name, name, None) for name in "ab"]


def setup_of(name, attack):
    source = Provenance("r", {"model": "m", "dataset": "d", "attack": name, "norm": "linf", "eps": None, "seed": 0})
    return BatchAttack(
        model=lambda x: x.flatten(1),
        attack=attack,
        make_goal=lambda logits, ids, labels: Untargeted(logits.argmax(1), ids=ids),
        source=source,
        keep=2,
    )


def tried(**attacks):
    return attack_by_several([setup_of(name, attack) for name, attack in attacks.items()], X, SAMPLES)


def test_the_smallest_wins_image_by_image():
    found = tried(far=Lift(by=0.4), near=Lift(by=0.15), none=Lift())
    assert [best.result.record.attack for best in found] == ["near", "far"]
    assert [best.which for best in found] == [1, 0]
    assert [[record.met for record in best.records] for best in found] == [[True, True, False], [True, False, False]]
    assert [record.attack for record in found[0].records] == ["far", "near", "none"]
    assert found[0].result.record.linf == pytest.approx(0.15)


def test_the_first_counts_where_none_or_all_do_the_same():
    assert [best.which for best in tried(one=Lift(), other=Lift())] == [0, 0]
    assert [best.which for best in tried(one=Lift(by=0.3), other=Lift(by=0.3))] == [0, 0]


def test_one_that_crashes_takes_nothing_from_the_others():
    (best, _) = tried(crash=replace(Broken()), none=Lift())
    assert (best.result.record.status, best.result.record.attack) == (OK, "none")
    assert [record.status for record in best.records] == [UNKNOWN, OK]


class Broken(Crash):
    """Fails on every image."""

    def cheat(self, x, eps):
        raise RuntimeError("no")
