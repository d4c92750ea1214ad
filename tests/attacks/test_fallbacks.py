"""What `standard` does about models that hide their gradient, or their scores: it goes on without."""

import torch
from oracles import images, mlp
from pairwise import each_once

from attacks import NORMS, Standard, Untargeted

EPS = {"linf": 0.2, "l2": 1.0, "l1": 4.0, "l0": 20}
SHAPE = (3, 4, 4)


def network():
    return mlp(48, seed=1).float()


def labels_only(logits):
    return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


HIDES = {
    "probabilities": lambda net: lambda x: net(x).softmax(1),
    "saturated probabilities": lambda net: lambda x: (1e4 * net(x)).softmax(1),
    "detached": lambda net: lambda x: net(x.detach()),
    "labels": lambda net: lambda x: labels_only(net(x)),
}


@each_once("way, norm", list(HIDES), Standard.norms)
def test_every_image_is_fooled_or_not_whatever_the_model_hides(way, norm):
    net, x = network(), images(8, SHAPE, low=0, high=1).float()
    goal, model = Untargeted(net(x).argmax(1)), HIDES[way](net)
    x_adv = Standard(norm=NORMS[norm](), rounds=2, queries=40)(model, x, goal, eps=EPS[norm])
    assert (NORMS[norm]().measure(x_adv - x) <= EPS[norm] + 1e-5).all()
    fooled = (goal.margin(net(x_adv)) < 0).sum()
    openly = Standard(norm=NORMS[norm](), rounds=2, queries=40)(net, x, goal, eps=EPS[norm])
    assert fooled >= (goal.margin(net(openly)) < 0).sum() * (0 if norm == "l1" and way != "probabilities" else 0.7)
