"""Every rule of ``layers.py`` and ``code_rules.py`` rejects what it must reject, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from code_rules import (
    MAX_BODY_LINES,
    MAX_MODULE_LINES,
    committed_texts,
    dangling,
    has_running_example,
    machine_paths,
    oversized,
    undocumented,
    unidiomatic,
    unsafe,
    vague_parts,
)
from layers import chain_to_torch, circles, forbidden_imports, third_party_at_import

Checker = Callable[[str], list[str]]


def within(checker: Callable[[str, dict[str, str]], list[str]], name: str) -> Checker:
    """The ``checker`` for the source of one module called ``name``."""
    return lambda source: checker(name, {name: source})


def record(body: str, docstring: str = "A record.") -> str:
    """A documented module with one dataclass."""
    return f'"""Module."""\n@dataclass(frozen=True)\nclass Record:\n    """{docstring}"""\n    {body}\n'


def function(body_length: int, docstring: str = "Doc.") -> str:
    """A function with so many lines of body, the second one blank and the third a comment."""
    body = "\n    ".join(["x = 0", "", "# why", *["x += 1"] * body_length][:body_length])
    return f'@decorated\ndef f(\n    a: int,\n) -> None:\n    """{docstring}"""\n    {body}\n'


WRONG: list[tuple[Checker, str, str]] = [
    (dangling, "# 1\n# see :func:`attacks.losses.gain`", "line 2: there is no attacks.losses.gain"),
    (dangling, "# see :class:`attacks.lossy`", "there is no attacks.lossy"),
    (within(third_party_at_import, "attacks.pgd"), "import numpy as np", "line 1: import numpy inside"),
    (within(forbidden_imports, "attacks.pgd"), "def f():\n    from advbench.planning.plan import Unit", "torch alone"),
    (
        within(forbidden_imports, "attacks.pgd"),
        "def f():\n    import foolbox.attacks",
        "only attacks.foolbox knows foolbox",
    ),
    (within(forbidden_imports, "attacks.pgd"), "if TYPE_CHECKING:\n    import advbench", "must not import advbench"),
    (within(forbidden_imports, "attacks.geometry.quantize"), "from attacks.search import x", "parts know no attack"),
    (
        within(forbidden_imports, "attacks.searches.track"),
        "def f():\n    from attacks import PGD",
        "parts know no attack",
    ),
    (within(forbidden_imports, "advbench.config.attack"), "try:\n    import torch\nexcept ImportError: ...", "line 2"),
    (
        within(forbidden_imports, "advbench.records.storage.atomic"),
        "class A:\n    import torch.nn",
        "inside the function",
    ),
    (within(forbidden_imports, "advbench.report.columns"), "def f():\n    import torch", "readable without torch"),
    (within(forbidden_imports, "advbench.evaluation.judge"), "from ..cli import main", "cli comes after evaluation"),
    (
        within(forbidden_imports, "advbench.models.zoo"),
        "def f():\n    from ..records.unit import x\n    from ..execution import y",
        "line 3",
    ),
    (
        within(forbidden_imports, "advbench.records.run"),
        "if TYPE_CHECKING:\n    import advbench.analysis.gates",
        "after records",
    ),
    (
        within(forbidden_imports, "advbench.report.html.page"),
        "from advbench.helpers import x",
        "helpers has no place in PACKAGES",
    ),
    (within(forbidden_imports, "advbench.helpers"), "from advbench.errors import UserError", "helpers has no place"),
    (within(forbidden_imports, "advbench"), "def f():\n    from advbench.cli import main", "the top layer"),
    (within(forbidden_imports, "advbench.cli.attack"), "import torch", "import it inside the function"),
    (within(forbidden_imports, "advbench.cli.main"), "from tests.oracles import linear", "not shipped"),
    (within(third_party_at_import, "attacks.foolbox"), "import foolbox", "import foolbox inside the function"),
    (
        within(third_party_at_import, "attacks.universal.universal"),
        "from safetensors.torch import save_file",
        "torch alone",
    ),
    (oversized, "\n" * (MAX_MODULE_LINES + 1), "301 lines, at most 300"),
    (oversized, function(MAX_BODY_LINES + 1), "line 2: f has 41 lines of body, at most 40"),
    (oversized, "class A:\n    def f(self, a, b, /, c, *d, e, f, g, **h): ...", "A.f takes 8 arguments, at most 7"),
    (oversized, "class A:\n    @staticmethod\n    def f(a, b, c, d, e, f, g, h): ...", "takes 8 arguments"),
    (undocumented, "x = 1", "line 1: the module needs a docstring"),
    (undocumented, '"""M."""\nasync def f(): ...', "line 2: f needs a docstring"),
    (undocumented, '"""M."""\nif x:\n    class A:\n        """D."""\n        def f(self): ...', "A.f needs"),
    (undocumented, '"""M."""\nclass A:\n    """D."""\n    def __call__(self): ...', "A.__call__ needs"),
    (undocumented, record("steps: int = 1"), "line 5: Record.steps needs a line of docstring"),
    (
        undocumented,
        record("a: int\n    b: int", "D.\n\n    Args:\n        a: Count.\n\n    Use a and b: or not."),
        "Record.b",
    ),
    (undocumented, '"""M."""\nclass A(typing.NamedTuple):\n    """D."""\n    x: int', "A.x needs"),
    (unidiomatic, record('x: int\n    """Number."""'), "line 6: x: 'Number.' says too little"),
    (unidiomatic, record("x: int", "D.\n\n    Args:\n        x: What."), "line 3: x: 'What.' says too little"),
    (unidiomatic, record('run: str\n    """Of the run."""'), "run: 'Of the run.' has no subject"),
    (unidiomatic, 'SEED = 0\n"""Likewise for all draws."""', "line 2: SEED: 'Likewise for all draws.' has no subject"),
    (unidiomatic, 'def f(n):\n    """D.\n\n    Args:\n        n: Of the\n            run.\n    """', "has no subject"),
    (unidiomatic, "x = 0  # so many images", "line 1: 'so many' is no plain English here: name the number"),
    (unidiomatic, '"""M.\n\nWhat came\nof it."""', "line 3: 'came\\nof it' is no plain English"),
    (unidiomatic, "raise ValueError('it is told')", "'is told' is no plain English"),
    (unsafe, "import pickle", "must not import pickle"),
    (unsafe, "def f():\n    from torch import load", "must not import torch.load"),
    (unsafe, "x = eval('1')", "must not call eval"),
    (unsafe, "exec('1')", "must not call exec"),
    (unsafe, "yaml.load(text)", "must not call yaml.load"),
    (unsafe, "torch.load(path)", "needs weights_only=True"),
    (unsafe, "torch.load(path, weights_only=flag)", "needs weights_only=True"),
    (unsafe, "if x:\n    assert y", "line 2: assert vanishes"),
]

RIGHT: list[tuple[Checker, str]] = [
    (dangling, "# see :mod:`attacks.losses`, :meth:`attacks.Perturbation.save` and :attr:`attacks.PGD.steps`"),
    (within(forbidden_imports, "attacks.foolbox"), "def get():\n    import foolbox\n    import eagerpy"),
    (within(forbidden_imports, "attacks.pgd"), "import math\nimport torch\nfrom .foolbox import get"),
    (within(forbidden_imports, "attacks.geometry.quantize"), "from attacks.searches.bisection import Bisection"),
    (within(forbidden_imports, "attacks.searches.track"), "from attacks.goals import Goal\nfrom attacks import losses"),
    (within(forbidden_imports, "advbench.config.attack"), "def f():\n    import torch"),
    (within(forbidden_imports, "advbench.records.record"), "if TYPE_CHECKING:\n    from torch import Tensor"),
    (within(forbidden_imports, "advbench.report.wording"), "if TYPE_CHECKING:\n    from torch import Tensor"),
    (within(forbidden_imports, "advbench.catalog.registry"), "import torchmetrics"),
    (within(forbidden_imports, "advbench.judge.x"), ""),
    (
        within(forbidden_imports, "advbench.evaluation.judge"),
        "from .meter import Meter\nfrom advbench import __version__",
    ),
    (within(forbidden_imports, "advbench.__main__"), "from advbench.cli.main import main"),
    (
        within(third_party_at_import, "attacks.pgd"),
        "from torch import nn\nfrom collections import abc\nfrom . import norms",
    ),
    (within(third_party_at_import, "attacks.universal.universal"), "def save():\n    import safetensors"),
    (oversized, "\n" * MAX_MODULE_LINES),
    (oversized, function(MAX_BODY_LINES, docstring="Doc." + "\n" * 30)),
    (oversized, "class A:\n    @classmethod\n    def f(cls, a, b, c, d, e, f, *, g): ..."),
    (undocumented, '"""M."""\ndef _f(): ...\nclass _A:\n    def f(self): ...'),
    (undocumented, '"""M."""\nclass A:\n    """D."""\n    x: int\n    def __repr__(self): ...'),
    (undocumented, '"""M."""\ndef f():\n    """D."""\n    class A:\n        def g(self): ...'),
    (undocumented, record('steps: int = 1\n    """Steps."""\n    kind: ClassVar[str] = "x"\n    _x: int = 0')),
    (
        undocumented,
        record("a: int\n    b: int\n    c: int", "D.\n\n    Args:\n        a, b: Two.\n        c (int): One."),
    ),
    (
        unidiomatic,
        record('x: int\n    """Number of images."""\n    y: int', "Of a run.\n\n    Args:\n        y: Digest of it."),
    ),
    (unidiomatic, 'def f():\n    """So."""\n    x = 0\n    """Of."""[0]'),
    (unsafe, "model.eval()\ntorch.load(path, weights_only=True)\n'eval(x)'\nimport pickletools"),
    (machine_paths, "https://host.org/work/x and ~/work/x and ../work/x and a/home/b and /workshop"),
]


@pytest.mark.parametrize(("checker", "source", "finding"), WRONG)
def test_checker_rejects(checker: Checker, source: str, finding: str) -> None:
    assert finding in "\n".join(checker(source))


@pytest.mark.parametrize(("checker", "source"), RIGHT)
def test_checker_lets_pass(checker: Checker, source: str) -> None:
    assert checker(source) == []


@pytest.mark.parametrize("folder", ["home/me", "root/x", "work/main", "tmp/venv/bin"])
@pytest.mark.parametrize("before", ["", "cd ", "file://", '"', "PATH="])
def test_folders_of_one_machine_are_found(before: str, folder: str) -> None:
    (finding,) = machine_paths(f"first line\n{before}/{folder}")
    assert finding.startswith("line 2: /")


def test_chain_to_torch_goes_through_packages_and_stops_at_functions() -> None:
    sources = {
        "advbench": "from advbench.errors import UserError",
        "advbench.errors": "",
        "advbench.config.attack": "from ..planning import plan",
        "advbench.planning.plan": "from attacks.goals import Untargeted",
        "advbench.records.storage.atomic": "def read():\n    import torch",
        "attacks": "import torch",
        "attacks.goals": "",
    }
    chain = ["advbench.config.attack", "advbench.planning.plan", "attacks.goals", "attacks", "torch"]
    assert chain_to_torch("advbench.config.attack", sources) == chain
    assert chain_to_torch("advbench.records.storage.atomic", sources) == []


def test_circles_are_found_wherever_the_imports_stand() -> None:
    sources = {
        "advbench": "from advbench.a import x",
        "advbench.a": "def f():\n    from advbench import b",
        "advbench.b": "if TYPE_CHECKING:\n    from advbench.c import x",
        "advbench.c": "from advbench.a import x",
        "advbench.d": "from advbench.c import x",
    }
    assert circles(sources) == [["advbench.a", "advbench.b", "advbench.c"]]


def test_vague_names_are_seen_in_every_part() -> None:
    assert vague_parts("advbench.models._utils") == {"utils"}
    assert vague_parts("advbench.common.base") == {"common", "base"}
    assert not vague_parts("attacks.baseline")


def test_only_an_example_that_runs_counts() -> None:
    def runs() -> None:
        """>>> 1 + 1"""

    def skipped() -> None:
        """>>> 1 + 1  # doctest: +SKIP"""

    class OnMethod:
        @classmethod
        def make(cls) -> None:
            """>>> 1 + 1"""

    assert has_running_example(runs)
    assert has_running_example(OnMethod)
    assert not has_running_example(skipped)
    assert not has_running_example(within)


def test_committed_texts_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    for name in ("a.md", "sub/b.toml", ".git/config", ".venv-x/c.py", "env/pyvenv.cfg", "p.egg-info/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    found = {path.relative_to(tmp_path).as_posix() for path, _ in committed_texts(tmp_path, [".venv-*", "*.egg-info"])}
    assert found == {"a.md", "sub/b.toml"}
