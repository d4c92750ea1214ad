"""Random neighbours of candidates, in the norm of an attack."""

from torch import Tensor

from attacks.searches.track import Survivors


def near(active: Survivors, x_adv: Tensor, radius: float, seed: int, draw: int) -> Tensor:
    """A random point near each candidate.

    Args:
        active: The images under attack.
        x_adv: Candidates of the images (n, ...).
        radius: Largest distance as a multiple of ``eps``.
        seed: Seed of the attack.
        draw: Number of the draw.

    Returns:
        Points shaped like ``x_adv``, in [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.9, 0.3]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.1)
        >>> bool(((near(active, x, 2.0, seed=0, draw=0) - x).abs() <= 0.2 + 1e-6).all())
        True
    """
    moved = active.norm.random(x_adv.shape[1:], radius * active.eps, seed, active.goal.ids, draw).to(x_adv)
    return moved.add_(x_adv).clamp_(0, 1)
