"""The result of a proof for a batch of images."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Lower bounds on a goal's margin, one row for each image.

    Attributes:
        proved: Whether no perturbation within eps meets the goal, bool (N,).
        bound: Lower bound on the goal's margin on the ball within [0, 1], float64 (N,); minus infinity if there is
            none. Every bound was computed in float64, and counts as a proof if it is at least ``enough``.
        enough: The smallest bound that counts, float64 (N,): 1e-4, or more if the model's own arithmetic is coarse.
        method: The method that gave the bound; "none" if there is none.
        nodes: Number of branch-and-bound domains that were bounded, int64 (N,).
        seconds: Time for each image in seconds, float64 (N,).
        counterexample: Images that meet the goal where splitting found one, else None: candidates for the judge.
        reason: Why nothing could be proved, such as "cannot be proved: layer Softmax"; empty if it was tried.
    """

    proved: Tensor
    bound: Tensor
    enough: Tensor
    method: tuple[str, ...]
    nodes: Tensor
    seconds: Tensor
    counterexample: tuple[Tensor | None, ...]
    reason: str = ""
