"""What was proved about a batch of images."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Lower bounds of a goal's margin, one row for each image.

    Attributes:
        proved: Whether no perturbation within eps meets the goal, bool (N,).
        bound: A lower bound of the goal's margin on the ball within [0, 1], float64 (N,); minus infinity where there
            is none. Every bound was computed in float64, and one counts as a proof from ``enough`` on.
        enough: The smallest bound that counts, float64 (N,): 1e-4, or more where the model's own arithmetic is coarse.
        method: The method that gave the bound; "none" where there is none.
        nodes: Domains of branch and bound that were bounded, int64 (N,).
        seconds: Seconds that each image took, float64 (N,).
        counterexample: Images that meet the goal where splitting came upon one, else None: candidates for the judge.
        reason: Why nothing could be proved, such as "cannot be proved: layer Softmax"; empty where it was tried.
    """

    proved: Tensor
    bound: Tensor
    enough: Tensor
    method: tuple[str, ...]
    nodes: Tensor
    seconds: Tensor
    counterexample: tuple[Tensor | None, ...]
    reason: str = ""
