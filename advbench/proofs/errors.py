"""What is said where a network cannot be proved at all."""


class UnprovableError(ValueError):
    """A network that no bound here can follow, with the layer that stands in the way; its images stay open.

    Example:
        >>> raise UnprovableError("layer Softmax")
        Traceback (most recent call last):
        advbench.proofs.errors.UnprovableError: cannot be proved: layer Softmax
    """

    def __init__(self, obstacle: str) -> None:
        super().__init__(f"cannot be proved: {obstacle}")
        self.obstacle = obstacle
