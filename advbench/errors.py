"""Errors as a person sees them at the terminal, and the exit codes of every command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, as the shell sees it.

    Example:
        >>> ExitCode(3).name, ExitCode.INCOMPLETE == 3
        ('INCOMPLETE', True)
    """

    OK = 0
    """Everything was done, and every gate passed."""
    FAILED = 1
    """Everything was done, and a gate or a check failed."""
    USAGE = 2
    """Bad usage, something that cannot be read or written, or a gate whose baseline is missing."""
    INCOMPLETE = 3
    """Something failed; the rest is done and saved."""
    NOTHING = 5
    """There was nothing to do."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; what was finished is saved."""
    PIPE_CLOSED = 141
    """The reader of the output closed the pipe; the code that a shell reports for a program ended this way."""
    TERMINATED = 143
    """Stopped by a signal; what was finished is saved."""


CLOSED = "change its access rights, or copy it to a place of yours"
"""What to do about a file or folder that the system does not let us see."""


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

    exit_code = ExitCode.USAGE
    """Exit code of the command."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


def refuse_no_text(what: str, name: object, hint: str) -> None:
    """Refuse something that is no text where a name is asked for, such as a network where its name is.

    Args:
        what: What is named, such as "a model".
        name: What was given.
        hint: What to do instead.

    Raises:
        UserError: It is no text.

    Example:
        >>> refuse_no_text("a model", 3, "such as vgg16")
        Traceback (most recent call last):
        advbench.errors.UserError: a model is named by a text, got int
        such as vgg16
    """
    if not isinstance(name, str):
        raise UserError(f"{what} is named by a text, got {type(name).__name__}", hint=hint)


def not_installed(what: object, package: str, extra: str) -> UserError:
    """The error of something that needs a package which one of advbench's extras installs.

    Args:
        what: What needs it: a name, a file, or words.
        package: Name of the package.
        extra: Name of the extra.

    Example:
        >>> print(not_installed("net.onnx", "onnxruntime", "onnx"))
        net.onnx needs the package onnxruntime, which is not installed
        pip install "advbench[onnx]"
    """
    message = f"{what} needs the package {package}, which is not installed"
    return UserError(message, hint=f'pip install "advbench[{extra}]"')


def first_line(error: BaseException, otherwise: str = "no reason given") -> str:
    r"""First line of the message of an error.

    Args:
        error: The exception, with a message of any number of lines.
        otherwise: Returned if it has no message.

    Example:
        >>> first_line(ValueError("one\ntwo")), first_line(ValueError())
        ('one', 'no reason given')
    """
    return (str(error).strip() or otherwise).splitlines()[0]


def reason(error: BaseException) -> str:
    """The reason why foreign code failed, in one line.

    Args:
        error: Exception that it raised.

    Example:
        >>> reason(RuntimeError("no GPU here")), reason(KeyError("x"))
        ('no GPU here', "KeyError: 'x'")
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # TorchScript quotes the whole traceback, and says what went wrong at its end.
    line = lines[-1].removeprefix("RuntimeError: ") if "TorchScript interpreter" in lines[0] else lines[0]
    line = line.partition(". This is an internal miniz error")[0]  # what follows says at length that a file is damaged
    return line if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: {line}"
