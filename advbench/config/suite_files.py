"""Suites as TOML files: those in the package, and the user's own. Does not import torch."""

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import is_own, is_there, model_card
from advbench.config.data.masked import with_masks_of
from advbench.config.data.paths import with_paths
from advbench.config.gates import Floor, Gates
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.errors import UserError

_FOLDER = Path(__file__).parent / "suites"
_TABLES: dict[str, type[BaseModel]] = {
    "models": ModelSpec,
    "surrogates": SurrogateSpec,
    "datasets": DatasetSpec,
    "attacks": AttackSpec,
    "gates": Gates,
    "floors": Floor,
}

_NAMED = ("models", "datasets", "attacks")


def suite_names() -> list[str]:
    """Names of the suites in the package.

    Example:
        >>> "smoke" in suite_names()
        True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_suite(
    source: str | Path | Mapping[str, Any] | Suite, *, names: Collection[str] = (), allow_code: bool = False
) -> Suite:
    """Load a suite by name, from a TOML file, or from a mapping of the same structure.

    Args:
        source: A name such as "smoke", a path that ends in `.toml`, a mapping, or a suite.
        names: Models and data sets that a mapping may name in addition to those in the tables.
        allow_code: Whether it may name models whose code runs with your privileges; a suite object always may.

    Returns:
        The suite. Relative paths in a file start from the file.

    Raises:
        UserError: There is no such suite, or it is invalid; every mistake is reported with file and key. Or it has
            norms, goals or budgets that none of its attacks would use. Or it names models that run code, which was
            not allowed.

    Example:
        >>> load_suite({"name": "x", "models": "vgg61", "datasets": "mnist-samples", "attacks": "pgd"})
        Traceback (most recent call last):
        advbench.errors.UserError: suite is invalid
        models[0].name: unknown model 'vgg61'; did you mean vgg16, vgg19, vgg13? `advbench models` lists all names
    """
    suite = source if isinstance(source, Suite) else _loaded(source, names)
    _refuse_idle(suite)
    if not isinstance(source, Suite) and not allow_code:
        refuse_code(suite)
    return suite


def _loaded(source: str | Path | Mapping[str, Any], names: Collection[str]) -> Suite:
    given: object = source
    if not isinstance(given, str | Path | Mapping):
        hint = "name one, such as smoke, or a file that ends in .toml; or write it as a mapping"
        raise UserError(f"a suite is a name, a path or a mapping, got {type(given).__name__}", hint=hint)
    if isinstance(source, Mapping):
        return _checked(source, "suite", names)
    path = Path(source)
    if path.suffix == ".toml" or is_there(path, closed=True):  # if it is unreadable, reading it reports that
        return _from_the_file(_read(path), path)
    if (built_in := _FOLDER / f"{source}.toml").is_file() and str(source) in suite_names():
        return _read(built_in)
    rest = f"there are {', '.join(suite_names())}; or name a file that ends in .toml"
    raise UserError(f"unknown suite {str(source)!r}", hint=did_you_mean(str(source), suite_names(), rest))


def refuse_code(suite: Suite) -> None:
    """Refuse a suite that names models whose code would be run, because it may be untrusted.

    Raises:
        UserError: It names such models; the message lists their files.

    Example:
        >>> refuse_code(Suite(name="x", models="nets.py:small", datasets="mnist", attacks="pgd"))
        Traceback (most recent call last):
        advbench.errors.UserError: suite x names models that run code: nets.py
        if you would run that file yourself, allow it with --allow-code, in Python with load_suite(..., allow_code=True)
    """
    if files := code_of(suite):
        names = ", ".join(files)
        which = "that file" if len(files) == 1 else "these files"
        say = "allow it with --allow-code, in Python with load_suite(..., allow_code=True)"
        hint = f"if you would run {which} yourself, {say}"
        raise UserError(f"suite {suite.name} names models that run code: {names}", hint=hint)


def code_of(suite: Suite) -> tuple[str, ...]:
    """The files whose code the models of a suite run, which `--allow-code` allows.

    Example:
        >>> code_of(Suite(name="x", models=["nets.py:small", "nets.py:large"], datasets="mnist", attacks="pgd"))
        ('nets.py',)
    """
    named = [name for spec in suite.every_model for name in (spec.name, spec.gradients_from) if name is not None]
    runs = [str(card.runs) for name in named if is_own(name) and (card := model_card(name)).runs]
    return tuple(dict.fromkeys(runs))


def on_other_data(suite: Suite, data: tuple[DatasetSpec, ...]) -> Suite:
    """The suite with other data sets.

    Args:
        suite: Suite whose data sets, with their own budgets, are replaced.
        data: Data sets, at least one.

    Raises:
        UserError: Two of them have the same label, or a floor of the suite is for a data set that it no longer has.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="imagenet-samples", attacks="pgd")
        >>> [data.name for data in on_other_data(suite, (DatasetSpec(name="folder", path=Path("val")),)).datasets]
        ['folder']
    """
    data = tuple(each.under(suite.mask) for each in data)
    labels = [each.label for each in data]
    if twice := [label for label in labels if labels.count(label) > 1]:
        hint = f"give one of them a label: {data[0].name}...,label=NAME"
        raise UserError(f"two data sets are called '{twice[0]}'", hint=hint)
    if lost := [floor.dataset for floor in suite.gates.floors if floor.dataset not in (None, *labels)]:
        hint = f"give it that name: --data NAME,label={lost[0]}"
        raise UserError(
            f"suite {suite.name} has a floor for the data set '{lost[0]}', which --data replaces", hint=hint
        )
    return suite.model_copy(update={"datasets": with_masks_of([spec.mask for spec in suite.attacks], data)})


def on_other_models(suite: Suite, models: tuple[ModelSpec, ...]) -> Suite:
    """The suite with other models.

    Args:
        suite: Suite whose models are replaced.
        models: Models, at least one.

    Raises:
        UserError: Two of them have the same label, or a floor of the suite is for a model that it no longer has.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="imagenet-samples", attacks="pgd")
        >>> [model.label for model in on_other_models(suite, (ModelSpec(name="resnet50"),)).models]
        ['resnet50']
    """
    labels = [each.label for each in models]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"--model {twice[0]} is given twice", hint="leave out one of them")
    if lost := [floor.model for floor in suite.gates.floors if floor.model not in (None, *labels)]:
        raise UserError(
            f"suite {suite.name} has a floor for the model '{lost[0]}', which --model replaces",
            hint="take it out of a copy of the suite",
        )
    return suite.model_copy(update={"models": models})


def on_surrogates(suite: Suite, names: Sequence[str]) -> Suite:
    """The suite with its attacks made on models other than those that are judged.

    Args:
        suite: Suite whose own surrogates are replaced; attacks that choose some of those are made on all of these, and
            attacks that choose none on the model itself.
        names: Labels of models of the suite, or names of models; several joined by plus signs are an ensemble.

    Raises:
        UserError: There is no such model.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="imagenet-samples", attacks="bsr")
        >>> [each.label for each in on_surrogates(suite, ["vgg19", "vgg13+vgg16"]).surrogates]
        ['vgg19', 'vgg13 + vgg16']
    """
    attacks = [spec.model_copy(update={"surrogates": None}) if spec.surrogates else spec for spec in suite.attacks]
    wanted = [[part.strip() for part in name.split("+")] for name in names]
    given = {name: getattr(suite, name) for name in suite.model_fields_set}
    return _checked(given | {"attacks": attacks, "surrogates": wanted}, "--surrogate")


def _read(path: Path) -> Suite:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the suite {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    return _checked({"name": path.stem} | table, str(path), folder=path.parent)


def _refuse_idle(suite: Suite) -> None:
    """Refuse norms and goals that no attack supports, and budgets in norms that are not asked for.

    They would be left out without a word, since an attack leaves out what it does not support.
    """
    supported = {
        "norms": {norm for spec in suite.attacks for norm in spec.norms or spec.card.norms},
        "goals": {goal.partition(":")[0] for spec in suite.attacks for goal in spec.goals or spec.card.goals},
    }
    for key, names in supported.items():
        asked = getattr(suite, key) if suite.attacks and key in suite.model_fields_set else ()
        if idle := [name for name in asked if name.partition(":")[0] not in names]:
            message = f"suite {suite.name}: {key} has {idle[0]}, and no attack of the suite takes it"
            hint = f"take it out of {key}, or add an attack that takes it: `advbench attacks` shows which do"
            raise UserError(message, hint=hint)
    _refuse_idle_budgets(suite)


def _refuse_idle_budgets(suite: Suite) -> None:
    """Refuse budgets in a norm that is not asked for."""
    every = {*suite.norms, *(norm for spec in suite.attacks for norm in spec.norms or ())}
    places = [("eps", suite.eps if "eps" in suite.model_fields_set else {}, every)]
    places += [(f"eps of the data set {data.label}", data.eps, every) for data in suite.datasets]
    places += [
        (f"eps of attacks[{place}]", spec.eps or {}, {*(spec.norms or suite.norms)})
        for place, spec in enumerate(suite.attacks)
    ]
    for place, eps, norms in places:
        if idle := next((norm for norm in eps if norm not in norms), None):
            message = f"suite {suite.name}: {place} has budgets in {idle}, and no attack is run in {idle}"
            raise UserError(message, hint=f"add it to norms, or take {idle} out of eps")


def _checked(table: Mapping[str, Any], where: str, names: Collection[str] = (), folder: Path = Path()) -> Suite:
    try:
        return Suite.model_validate(table, context={"names": names, "folder": folder})
    except ValidationError as error:
        raise UserError(f"{where} is invalid", hint="\n".join(_mistakes(error))) from None


def _mistakes(error: ValidationError) -> Iterator[str]:
    """Each mistake on one line: key, what is wrong, what was probably meant."""
    for found in error.errors(include_url=False):
        location = found["loc"]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "suite"
        match found["type"]:
            case "extra_forbidden":
                yield f"{key}: unknown key{_guess(location)}"
            case "missing":
                yield f"{key}: is missing"
            case "model_type":
                yield f"{key}: expected {'a name or ' if location[0] in _NAMED else ''}a table, got {found['input']!r}"
            case _:
                yield f"{key}: {found['msg'].removeprefix('Value error, ')}"


def _guess(location: tuple[int | str, ...]) -> str:
    """The key that was probably meant by an unknown one."""
    table = Suite
    for part in location[:-1]:
        table = _TABLES.get(str(part), table)  # type: ignore[assignment]
    there_are = f"there are {', '.join(table.model_fields)}"
    return f"; {did_you_mean(str(location[-1]), table.model_fields) or there_are}"


def _from_the_file(suite: Suite, file: Path) -> Suite:
    """The suite with paths relative to the current folder."""
    return with_paths(suite, lambda path: path if path.is_absolute() else Path(os.path.relpath(file.parent / path)))
