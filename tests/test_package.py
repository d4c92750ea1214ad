"""What is published: one version, metadata that is true, bounds that are tested, and a wheel with everything in it."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import advbench

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LINTERS = {"mypy", "pandas-stubs", "ruff"}
"""What no test runs with."""
MOST_MIB = 20
"""Largest wheel."""


def required(extra: str = "") -> Iterator[str]:
    """The requirements of the package or of an extra, with those of the extras that it names."""
    for requirement in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        inner = re.fullmatch(r"advbench\[(.*)\]", requirement)
        if inner:
            for name in inner[1].split(","):
                yield from required(name)
        else:
            yield requirement


def pins(name: str) -> dict[str, str]:
    """Package -> version in a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, without the zeros at its end."""
    return tuple(int(part) for part in re.sub(r"(\.0)+$", "", version).split("."))


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == advbench.__version__
    assert f"\n## [{advbench.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_oldest_versions_are_the_lower_bounds():
    bounds = dict(re.split(">=|==", each.partition(",")[0]) for each in [*required(), *required("dev")])
    expected = {name.lower().replace("_", "-"): version for name, version in bounds.items() if name not in LINTERS}
    assert pins("constraints-oldest.txt") == expected


def test_no_tested_version_is_below_its_bound():
    newest = pins("constraints.txt")
    for requirement in required():
        name, bound = re.split(">=|==", requirement)
        assert numbers(newest[name]) >= numbers(bound), requirement


def test_every_python_that_is_claimed_is_tested():
    claimed = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', re.search(r"^ +python: (\[.*\])$", workflow, re.MULTILINE)[1]) == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_every_make_target_of_the_workflow_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    called = re.findall(r"run: make ([a-z-]+)", (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert set(called) == {"test-oldest", "test-exchange", "package"}
    assert set(called) <= set(targets)


@pytest.mark.slow
def test_type_checkers_see_an_editable_install():
    """Without this, setuptools finds packages by an import hook that mypy knows nothing of: attacks is not found."""
    assert PYPROJECT["tool"]["setuptools"]["package-dir"] == {"": "."}


def test_the_wheel_holds_the_whole_package(tmp_path):
    tree = tmp_path / "tree"
    for name in ("advbench", "attacks"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        about = Parser().parsestr(archive.read(metadata).decode())
    there = {
        path.relative_to(tree).as_posix()
        for name in ("advbench", "attacks")
        for path in (tree / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert {"advbench/py.typed", "attacks/py.typed"} <= held
    assert wheel.stat().st_size < MOST_MIB * 2**20
    assert about["Version"] == advbench.__version__
    assert about["Requires-Python"] == PROJECT["requires-python"]
    assert about.get_all("Project-URL")
    assert about["Description-Content-Type"] == "text/markdown"
