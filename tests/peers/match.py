"""Definition of a match: one of our attacks, and the same attack of other libraries at the same settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from attacks import Attack
from tests.peers.libraries import Call

EASY, HARD, PHOTOGRAPHS = "cifar10-resnet20", "cifar10-cnn-a-adv", "efficientnet_lite0"
DIGITS = "mnist-lenet5-adv-linf0.3"


@dataclass(frozen=True, kw_only=True)
class Match:
    """One attack against those of the same kind."""

    name: str
    """Short name, for `--only`."""
    title: str
    """Settings that are equal."""
    ours: Attack
    """The attack of this project."""
    peers: Mapping[str, Call]
    """Library, and its attack's name if it has several -> the call."""
    victims: tuple[str, ...]
    """Names in `tests.peers.victims.VICTIMS`."""
    eps_factor: float = 1.0
    """Factor that the victim's eps is multiplied by."""
    note: str = ""
    """Settings that differ."""
