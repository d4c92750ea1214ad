"""DatasetAttack of Foolbox: images that it is fed, and images that Foolbox carries."""

import pytest
import torch
from foolbox_quick import NET, images, quick
from foolbox_runs import FIRST, LOGITS, X

from attacks import Untargeted
from attacks.foolbox import get, run


class TestDataset:
    @pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (20, 30))])
    def test_chooses_among_the_images_that_foolbox_carries(self, channels, size):
        def network(x):
            return torch.stack([x.mean((1, 2, 3)), torch.full((len(x),), 0.2)], 1) * 10

        x = torch.full((2, channels, *size), 0.9)
        goal = Untargeted(torch.tensor([0, 0]))
        found = get("dataset")(network, x, goal)
        assert ((goal.margin(network(found)) < 0) == (found != x).flatten(1).any(1)).all()
        with run.apart(0, x.device):
            pool = run._samples(x)
        assert pool.shape == (20, channels, *size)
        assert all((pool == image).flatten(1).all(1).any() for image in found if (image != 0.9).any())

    @pytest.mark.parametrize("place", [0, 7, 39])
    def test_every_fed_image_can_be_chosen(self, place):
        feed = X[:1].repeat(40, 1, 1, 1)
        feed[place] = X[1]
        found = get("dataset", feed=feed)(NET, X[:1], FIRST.select(torch.tensor([0])))
        assert torch.equal(found, X[1:2])

    def test_the_order_is_drawn_for_each_image(self):
        feed = images(40)
        goal = Untargeted(LOGITS[:1].argmax(1).repeat(8))
        found = get("dataset", feed=feed)(NET, X[:1].repeat(8, 1, 1, 1), goal)
        assert len(found.flatten(1).unique(dim=0)) > 1

    def test_finds_nothing_where_there_is_nothing(self):
        assert torch.equal(
            get("dataset", feed=X[:1].repeat(3, 1, 1, 1))(NET, X[:1], FIRST.select(torch.tensor([0]))), X[:1]
        )

    def test_feed_must_fit(self):
        with pytest.raises(
            ValueError, match=r"expected feed like the images, \(3, 1, 8, 8\), got shape \(2, 1, 4, 4\)"
        ):
            get("dataset", feed=torch.zeros(2, 1, 4, 4))(NET, X, FIRST)
        with pytest.raises(ValueError, match=r"expected feed=images for images \(3, 2, 8, 8\), got None"):
            get("dataset")(NET, X.repeat(1, 2, 1, 1), FIRST)

    def test_starts_others(self):
        attack = quick("boundary", init_attack="dataset", feed=images(9)[3:])
        assert (FIRST.margin(NET(attack(NET, X, FIRST))) < 0).all()
