"""What a person at the terminal is told when something cannot go on."""

EXIT_OK = 0
"""Everything asked for was done."""
EXIT_FAILED = 1
"""Everything was done, and a gate did not let it pass."""
EXIT_USAGE = 2
"""Bad usage, or nothing could be read."""
EXIT_INCOMPLETE = 3
"""Something failed; the rest is done and saved."""
EXIT_NOTHING = 5
"""There was nothing to do."""


class UserError(Exception):
    """A mistake or a lack that the user can mend; printed without a traceback.

    Args:
        message: One sentence: what is wrong, where, and why.
        hint: What to do next; may run over several lines. Empty if the message says it all.

    Example:
        >>> print(UserError("unknown model 'vgg61'", hint="did you mean vgg16?"))
        unknown model 'vgg61'
        did you mean vgg16?
    """

    exit_code = EXIT_USAGE
    """With which a command ends."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
