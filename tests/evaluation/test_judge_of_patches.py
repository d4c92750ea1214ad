"""The judge, given the norm of a patch attack: one patch covers all that was changed, or the candidate is invalid."""

import torch

from advbench.evaluation.judge import judge
from attacks import Patch, Untargeted


def verdict(x, x_adv, **options):
    goal = Untargeted(torch.zeros(len(x), dtype=torch.long))
    return judge(lambda x: torch.stack([1 - x.sum((1, 2, 3)), x.sum((1, 2, 3))], 1), x, x_adv, goal, **options)


def test_what_no_patch_of_the_share_covers_is_invalid():
    x = torch.zeros(4, 3, 20, 20)
    x_adv = x.clone()
    x_adv[0, :, 3:7, 15:19] = 1  # a patch of 4 % of the image
    x_adv[1, :, 3:8, 15:19] = 1  # one pixel too high
    x_adv[2, :, 3:7, 15:19] = 1
    x_adv[2, 0, 0, 0] = 0.1  # and a little elsewhere
    seen = verdict(x, x_adv, norm=Patch(share=0.04).norm, eps=None)
    assert seen.valid.tolist() == [True, False, False, True]
    assert seen.met.tolist() == [True, False, False, False]
    assert seen.met_8bit.tolist() == [True, False, False, False]
    assert seen.sizes["l0"].tolist() == [48, 60, 49, 0]


def test_a_square_is_no_circle():
    x = torch.zeros(1, 1, 20, 20)
    x_adv = x.clone()
    x_adv[0, 0, 3:7, 3:7] = 1
    assert verdict(x, x_adv, norm=Patch(share=0.04).norm, eps=None).valid.tolist() == [True]
    assert verdict(x, x_adv, norm=Patch(share=0.04, shape="circle").norm, eps=None).valid.tolist() == [False]
