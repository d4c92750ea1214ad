"""`python -m advbench` and the installed `advbench`: the command line, which Ctrl-C ends while it is imported too."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130 and without a traceback, from the first import on."""
    try:
        from advbench.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:
        from advbench.errors import ExitCode

        if sys.stderr is not None:  # whoever started this may have closed it
            sys.stderr.write("interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
