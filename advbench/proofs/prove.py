"""Proves images: no perturbation within eps meets the goal."""

import time
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.specifications import specification
from advbench.proofs.cascade import METHODS, Case, Limits, run
from advbench.proofs.errors import UnprovableError
from advbench.proofs.network.graph import Network
from advbench.proofs.proof import Proof
from advbench.proofs.reading.reader import read_network
from attacks.goals import Goal
from attacks.norms import NORMS, Norm
from attacks.queries.answers import ask
from attacks.queries.inputs import check_arguments, check_norm
from attacks.queries.modes import check_callable, parts
from attacks.queries.plain import plain_number

MARGIN = 1e-4
"""Least bound that counts as a proof, in units of logits."""
_CPU = torch.device("cpu")
"""Where bounds are computed, wherever the model is: in float64, and the same everywhere."""
_ARITHMETIC = 20.0
"""How many times the measured error of the model's own arithmetic a bound must be above zero."""


def prove(
    model: Any, x: Tensor, goal: Goal, *, norm: Norm, eps: float, domains: int = 2000, seconds: float = 60.0
) -> Proof:
    """Prove that no perturbation within eps meets the goal, where that can be done.

    Args:
        model: A torch module in eval mode, of float32 or float64.
        x: Images (N, ...) in [0, 1].
        goal: What would count as fooled, one of the five goals of :mod:`attacks.goals`.
        norm: Norm of the perturbations.
        eps: Largest size of a perturbation, image units.
        domains: Most domains of branch and bound for each image; what is proved does not depend on how fast the
            machine is as long as this limit comes before that of seconds.
        seconds: Seconds after which nothing more is begun for an image.

    Returns:
        What was proved. A network with a layer that bounds cannot follow proves nothing, and ``reason`` says why.

    Raises:
        ValueError: The model, the images, eps or the goal cannot be meant so.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
        >>> _ = nn.init.eye_(model[0].weight)
        >>> proof = prove(model, torch.tensor([[0.7, 0.3]]), Untargeted(torch.tensor([0])), norm=Linf(), eps=0.1)
        >>> proof.proved, proof.method, round(proof.bound.item(), 3)
        (tensor([True]), ('interval',), 0.2)
    """
    return _prove(model, x, goal, (norm, eps), Limits(domains=domains, seconds=seconds))


def bound(model: Any, x: Tensor, goal: Goal, *, norm: Norm, eps: float, upto: str, seconds: float = 60.0) -> Proof:
    """Bounds by the cheaper methods alone.

    Args:
        model: A torch module in eval mode, of float32 or float64.
        x: Images (N, ...) in [0, 1].
        goal: What would count as fooled, one of the five goals of :mod:`attacks.goals`.
        norm: Norm of the perturbations.
        eps: Largest size of a perturbation, image units.
        upto: Last method to try: interval, crown-ibp, crown, alpha-crown or split.
        seconds: Seconds after which nothing more is begun for an image.

    Returns:
        What was proved, as :func:`prove` gives it.

    Raises:
        ValueError: The model, the images, eps, the goal or the method cannot be meant so.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
        >>> x = torch.tensor([[0.7, 0.3]])
        >>> bound(model, x, Untargeted(model(x).argmax(1)), norm=Linf(), eps=0.1, upto="crown").nodes
        tensor([0])
    """
    if upto not in METHODS:
        raise ValueError(f"expected a method of {', '.join(METHODS)}, got {upto}")
    return _prove(model, x, goal, (norm, eps), Limits(upto=upto, seconds=seconds))


def _prove(model: Any, x: Tensor, goal: Goal, ball: tuple[Norm, float], limits: Limits) -> Proof:
    """Read the network once, and take the images one by one."""
    check_callable(model)
    _check_model(model)
    check_norm("a proof", ball[0], tuple(NORMS))
    if isinstance(x, Tensor) and x.ndim > 1 and not len(x):
        return _nothing(x, "")
    check_arguments(model, x, goal, ball[0], None)
    x, ball = x.detach(), (ball[0], _budget(x, *ball))
    _check_limits(limits)
    with torch.no_grad():
        ask(model, x[:1])  # what the model does not take at all is its caller's mistake, not an obstacle to a proof
    try:
        network = read_network(model, x).to(_CPU)
    except UnprovableError as error:
        return _nothing(x, str(error))
    goal.check(network.nodes[-1].shape[0])
    cases = []
    for i in range(len(x)):
        row = torch.tensor([i], device=x.device)
        begun = time.perf_counter()
        case = _case(model, network, x[row], goal.select(row), ball, limits)
        run(case)
        cases.append((case, time.perf_counter() - begun))
    return _proof(cases)


def _check_model(model: Any) -> None:
    """Refuse a network that is in training mode or in half precision."""
    for name, part in parts(model):
        if part.training:
            raise ValueError(f"expected a model in eval mode, got {name or type(part).__name__} in training mode")
    for number in model.parameters() if isinstance(model, nn.Module) else ():
        if number.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"expected a model of float32 or float64, got {number.dtype}: call float()")


def _budget(x: Tensor, norm: Norm, eps: Any) -> float:
    """A number for eps; one that no perturbation of an image in [0, 1] reaches is refused."""
    number = plain_number(eps)
    if isinstance(number, Tensor) and number.ndim == 0:
        number = number.item()
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"expected eps as one number, the same for all images, got {eps!r}")
    number, largest = float(number), float(norm.measure(torch.ones_like(x[:1])).max())
    if not 0 <= number <= largest:
        scale = ": images are in [0, 1], so that 8 levels of 255 are 8/255"
        raise ValueError(f"expected eps from 0 to {largest:g} in {norm.name}, got {number:g}{scale}")
    if norm.name == "l0" and number != int(number):
        raise ValueError(f"expected a whole number of values for eps in l0, got {number:g}")
    return number


def _check_limits(limits: Limits) -> None:
    """Refuse a limit below zero."""
    if not (limits.domains >= 0 and limits.seconds >= 0):
        got = f"{limits.domains} domains and {limits.seconds:g} seconds"
        raise ValueError(f"expected limits of at least 0, got {got}")


def _case(model: Any, network: Network, x: Tensor, goal: Goal, ball: tuple[Norm, float], limits: Limits) -> Case:
    """One image with nothing proved yet."""
    norm, eps = ball
    wanted = specification(goal, network.nodes[-1].shape[0])
    wanted = replace(wanted, above=wanted.above.to(_CPU), below=wanted.below.to(_CPU))

    def probe(points: Tensor) -> Tensor | None:
        """The first point that meets the goal, brought into the true ball."""
        with torch.no_grad():
            candidates = norm.within(x.expand(len(points), *x.shape[1:]), points.to(x), eps)
            met = _rows(goal, len(candidates)).margin(ask(model, candidates)) < 0
        return candidates[met][:1] if bool(met.any()) else None

    return Case(
        network=network,
        ball=BallInBox.around(x.double().to(_CPU), norm, eps),
        wanted=wanted,
        enough=_enough(model, network, x),
        limits=limits,
        probe=probe,
        lower=torch.full((len(wanted.above),), -torch.inf, dtype=torch.float64),
    )


def _rows(goal: Goal, count: int) -> Goal:
    return goal.select(torch.zeros(count, dtype=torch.int64))


def _enough(model: Any, network: Network, x: Tensor) -> float:
    """The bound from which on float32 cannot give another answer, by how far it is from float64 on this image."""
    with torch.no_grad():
        error = (network.logits(x.double().to(_CPU)) - ask(model, x).double().to(_CPU)).abs().max()
    return max(MARGIN, _ARITHMETIC * float(error))


def _proof(cases: list[tuple[Case, float]]) -> Proof:
    found = [case for case, _ in cases]
    return Proof(
        proved=torch.tensor([case.proved for case in found]),
        bound=torch.tensor([case.margin for case in found], dtype=torch.float64),
        enough=torch.tensor([case.enough for case in found], dtype=torch.float64),
        method=tuple(case.method for case in found),
        nodes=torch.tensor([case.domains for case in found]),
        seconds=torch.tensor([spent for _, spent in cases], dtype=torch.float64),
        counterexample=tuple(None if case.proved else case.counterexample for case in found),
    )


def _nothing(x: Tensor, reason: str) -> Proof:
    """No image is proved."""
    count = len(x)
    return Proof(
        proved=torch.zeros(count, dtype=torch.bool),
        bound=torch.full((count,), -torch.inf, dtype=torch.float64),
        enough=torch.full((count,), MARGIN, dtype=torch.float64),
        method=("none",) * count,
        nodes=torch.zeros(count, dtype=torch.int64),
        seconds=torch.zeros(count, dtype=torch.float64),
        counterexample=(None,) * count,
        reason=reason,
    )
