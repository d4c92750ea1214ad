"""The product keeps to its layers, its sizes, its documentation and its safety rules.

The rules stand in ``layers.py`` and ``code_rules.py``; ``test_code_rules.py`` shows that each can fail.
"""

import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from code_rules import (
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
from layers import (
    PACKAGES,
    WITHOUT_TORCH,
    chain_to_torch,
    circles,
    forbidden_imports,
    imports,
    package_of,
    third_party_at_import,
    under,
)

ROOT = Path(__file__).parents[1]


def module_name(path: Path) -> str:
    """``advbench/report/__init__.py`` -> ``advbench.report``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for top in ("attacks", "advbench") for path in sorted((ROOT / top).rglob("*.py"))}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}

TEST_LINES = 400
"""Most lines of a file below ``tests``."""
PACKAGE_MODULES = 12
"""Most modules of a package, folders in it aside."""
GROWING = ("advbench.cli", "advbench.models.sources")
"""Packages with one module for each thing of a kind, commands and sources of models."""
LIGHT = [name for name in SOURCES if under(name, "advbench") and package_of(name) in WITHOUT_TORCH]


def fail_on(findings: Iterable[tuple[str, list[str]]]) -> None:
    """Fail with one line for each finding, each with the file of the module that it is about."""
    lines = [f"{PATHS[name].relative_to(ROOT)}: {finding}" for name, found in findings for finding in found]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_imports_only_from_layers_below() -> None:
    fail_on((name, forbidden_imports(name, SOURCES)) for name in SOURCES)


def test_no_modules_import_each_other() -> None:
    assert circles(SOURCES) == []


def test_every_package_has_its_place_in_the_order() -> None:
    assert sorted({package_of(name) for name in SOURCES if under(name, "advbench")} - {""}) == sorted(PACKAGES)


def test_attacks_need_torch_alone() -> None:
    fail_on((name, third_party_at_import(name, SOURCES)) for name in SOURCES if under(name, "attacks"))


def test_no_chain_of_imports_leads_to_torch() -> None:
    chains = {name: chain for name in LIGHT if (chain := chain_to_torch(name, SOURCES))}
    why = "imports torch: {}; move one of these into a function"
    fail_on((name, [why.format(" -> ".join(chain))]) for name, chain in chains.items())


def modules_after(code: str) -> set[str]:
    """Names in ``sys.modules`` of a new interpreter that has run ``code``."""
    script = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{code!r} failed:\n{done.stderr}", pytrace=False)
    return set(done.stdout.splitlines()[-1].split())


def test_import_attacks_brings_no_harness_along() -> None:
    unwanted = {"foolbox", "pandas", "advbench", "torchvision", "scipy", "matplotlib"}
    found = unwanted & modules_after("import attacks")
    assert not found, f"`import attacks` imports {sorted(found)}; import them inside the functions that need them"


LISTS = ["--help", "models", "attacks", "attacks pgd", "attacks foolbox/ddn", "attack --help", "datasets", "schema"]


@pytest.mark.parametrize("arguments", [each.split() for each in LISTS], ids=" ".join)
def test_commands_that_only_list_do_without_torch(arguments: list[str]) -> None:
    loaded = modules_after(f"from advbench.cli.main import main\nmain({arguments}, standalone_mode=False)")
    assert "torch" not in loaded, f"`advbench {' '.join(arguments)}` imports torch; import it inside the handlers"


def test_light_modules_do_without_torch() -> None:
    assert "torch" not in modules_after(f"import {', '.join(LIGHT)}")


def test_sizes() -> None:
    fail_on((name, oversized(source)) for name, source in SOURCES.items())


def test_no_file_of_tests_outgrows_its_subject() -> None:
    sizes = {path: path.read_text(encoding="utf-8").count("\n") for path in sorted((ROOT / "tests").rglob("*.py"))}
    large = [
        f"{path.relative_to(ROOT)}: {size} lines, at most {TEST_LINES}"
        for path, size in sizes.items()
        if size > TEST_LINES
    ]
    assert not large, "; ".join([*large, "split it by what is tested, and move what both parts need to tests/support"])


def test_tests_of_the_library_do_without_the_harness() -> None:
    found = [
        f"{path.name} imports {each.name}"
        for path in sorted((ROOT / "tests" / "attacks").glob("*.py"))
        for each in imports(path.read_text(encoding="utf-8"), path.stem)
        if under(each.name, "advbench")
    ]
    assert not found, f"{'; '.join(found)}: tests of the library must not need the harness"


def test_everything_public_is_documented() -> None:
    public = [name for name, path in PATHS.items() if not path.stem.startswith("_") or path.stem == "__init__"]
    fail_on((name, undocumented(SOURCES[name])) for name in public)


def test_entries_name_what_they_describe() -> None:
    fail_on((name, unidiomatic(source)) for name, source in SOURCES.items())


def test_docstrings_refer_to_what_exists() -> None:
    fail_on((name, dangling(source)) for name, source in SOURCES.items())


def test_every_export_has_an_example() -> None:
    import attacks

    things = {name: getattr(attacks, name) for name in attacks.__all__}
    lacking = [
        f"{thing.__module__}.{name}"
        for name, thing in things.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not has_running_example(thing)
    ]
    assert not lacking, f"give each an `Example:` that runs (>>>) in its docstring: {', '.join(lacking)}"


def test_no_unsafe_code() -> None:
    fail_on((name, unsafe(source)) for name, source in SOURCES.items())


def test_module_names_say_their_purpose() -> None:
    fail_on((name, ["name it after what it does"]) for name in SOURCES if vague_parts(name))


def test_no_package_outgrows_its_purpose() -> None:
    modules = Counter(name.rpartition(".")[0] for name in SOURCES if under(name, "advbench"))
    # a package counts for its parent as a folder, not as a module
    modules.subtract(name.rpartition(".")[0] for name, path in PATHS.items() if path.stem == "__init__")
    large = {name: count for name, count in modules.items() if count > PACKAGE_MODULES and name not in GROWING}
    assert not large, f"{large}: at most {PACKAGE_MODULES} modules; put what belongs together into a folder"


def test_no_text_file_names_a_folder_of_one_machine() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [line.strip("/") for line in lines if line and not line.startswith("#")]
    findings = [
        f"{path.relative_to(ROOT)}: {finding}"
        for path, text in committed_texts(ROOT, ignored)
        for finding in machine_paths(text)
    ]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


def test_modules_after_sees_what_was_imported() -> None:
    loaded = modules_after("import tomllib")
    assert "tomllib" in loaded
    assert "torch" not in loaded
