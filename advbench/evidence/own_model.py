"""Loads the model to check an archive with, in the same way as the run, and compares its digest."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advbench.catalog.user_models import FACTORY, described_fields, is_own
from advbench.config.model_description import Description, refuse_unread
from advbench.config.models.model import ModelSpec
from advbench.errors import UserError
from advbench.evidence.archive import Archive
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.files.described import SaysItselfError
from advbench.models.files.weights import sha256_of
from advbench.planning.resources import digest_of

_PLAIN = ("num_classes", "input_size", "mean", "std", "output")
"""Fields of a description that do not name files."""


def manifest_of(archive: Archive) -> dict[str, Any]:
    """The manifest of the run.

    Raises:
        UserError: It is not a JSON object.
    """
    try:
        found = json.loads(archive.text("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"manifest.json in the archive cannot be read: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise UserError("manifest.json in the archive is not a manifest")
    return found


def classes_of(archive: Archive) -> dict[str, list[str]]:
    """Data set -> names of the classes among which the model was judged, as far as the manifest gives them."""
    found = manifest_of(archive).get("classes", {})
    tables = found.items() if isinstance(found, dict) else ()
    return {str(label): [str(each) for each in names] for label, names in tables if isinstance(names, list)}


def description_in(archive: Archive, name: str) -> Description:
    """The run's description of the model, if it was loaded from a file of this name.

    Fields that name files are ignored: the archive may come from a stranger.

    Args:
        archive: Archive to be checked.
        name: Name or path from which the model is loaded.
    """
    suite = manifest_of(archive).get("suite", {})
    specs = suite.get("models", []) if isinstance(suite, dict) else []
    wanted = archive.claims.model.label
    said = next((each for each in specs if isinstance(each, dict) and each.get("label") == wanted), {})
    if not is_own(name) or Path(str(said.get("name", ""))).name != Path(name).name:
        return Description()
    fields = {field: said.get(field) for field in _PLAIN if field in described_fields(name)}
    try:
        return Description(**{field: value for field, value in fields.items() if value is not None})
    except ValidationError:
        raise UserError("the description of the model in the archive's manifest.json is invalid") from None


def load_own(
    archive: Archive, name: str, about: Description, weights: Path | None = None, device: str = "cpu"
) -> Classifier:
    """Load the model; if its input size is not given, the size of the images in the archive is used.

    Args:
        archive: Archive to be checked.
        name: Name or path from which the model is loaded.
        about: Description of the model.
        weights: Weights file to use in place of its own.
        device: Device to load it to.

    Raises:
        UserError: It cannot be loaded.
    """
    said = about
    if archive.claims.data and "input_size" in described_fields(name):
        channels, height, width = archive.claims.data[0].shape
        grey = (0.0,) if channels == 1 and about.channels is None else None
        said = about.over(Description(input_size=[height, width], mean=grey))
    refuse_unread(name, about)
    try:
        return load_model(name, weights=weights, about=said, device=device)
    except SaysItselfError:
        return load_model(name, weights=weights, about=about, device=device)


def other_model(archive: Archive, model: Classifier, name: str, about: Description, weights: Path | None = None) -> str:
    """Why a model is not the one that the run attacked, judging by its digest; empty if it is.

    Args:
        archive: Archive to be checked.
        model: The model to be compared.
        name: Name or path from which it was loaded.
        about: Description that it was loaded with.
        weights: Weights file that it was loaded with.
    """
    own = archive.claims.model
    spec = ModelSpec(name=name, weights=weights, **about.said())
    if own.digest and own.digest in (digest_of(spec, model), digest_of(None, model)):
        return ""
    # the digest also changes with the version of the package that runs a file
    file = Path(name)
    if file.suffix == ".onnx" and file.is_file() and sha256_of(file) in (own.weights_sha256, *own.onnx_sha256):
        return ""
    if not FACTORY.fullmatch(name) and own.weights_sha256 and model.weights_sha256 == own.weights_sha256:
        return ""
    return (
        f"{name} has a different digest than the archive's model {own.label!r} (--converted compares only its outputs)"
    )
