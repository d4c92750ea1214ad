"""The error for a network that no method can bound."""


class UnprovableError(ValueError):
    """A network that cannot be bounded, with the obstacle, such as a layer; its images stay open.

    Example:
        >>> raise UnprovableError("layer Softmax")
        Traceback (most recent call last):
        advbench.proofs.errors.UnprovableError: cannot be proved: layer Softmax
    """

    def __init__(self, obstacle: str) -> None:
        super().__init__(f"cannot be proved: {obstacle}")
        self.obstacle = obstacle
