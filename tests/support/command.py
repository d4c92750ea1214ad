"""Commands run in this process, quickly."""

import json
import os
from pathlib import Path

from click.testing import CliRunner

from advbench.cli.main import main

QUICK = ("--model", "tiny", "--attack", "fgsm", "--goal", "untargeted", "--device", "cpu")


def run(*arguments, charset="utf-8"):
    """Run a command in this process; only exits that are meant are let through."""
    result = CliRunner(charset=charset).invoke(
        main, [os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def advb(*arguments, code=0):
    """Run a command that has to end with this code."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result


def refused(*arguments):
    """The message of a command that is refused."""
    return advb(*arguments, code=2).stderr


def attack(*arguments, **options):
    return run("attack", *QUICK, *arguments, **options)


def rows_of(result):
    """The JSON that was printed, and nothing but JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(result.stdout, parse_constant=refuse)
