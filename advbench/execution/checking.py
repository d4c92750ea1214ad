"""The trust checks of a run: a model and its data set are looked at before anything is attacked."""

from collections.abc import Sequence
from contextlib import suppress

from PIL import Image

from advbench.config.suite import Suite
from advbench.evaluation.batch import labels_of
from advbench.evaluation.data_checks import check_data
from advbench.evaluation.model_checks import check_model
from advbench.evaluation.set_checks import LOOKED_AT, Shown, check_set, is_train_split
from advbench.planning.resources import Resources
from advbench.records.flag import Flag
from advbench.records.unit import Unit

_ASKED = 32
"""Number of images that the checks of the model itself are made on."""


def checked(unit: Unit, whole: Unit, suite: Suite, resources: Resources) -> list[Flag]:
    """Make the trust checks of a model and a data set.

    Args:
        unit: Unit of the task "checks".
        whole: Unit that predicts all images of the data set.
        suite: Suite that is run.
        resources: Models and images.

    Raises:
        UserError: An image is not the one that was planned with.
    """
    images, samples = resources.images(unit), resources.samples(unit)
    labels = labels_of([samples[row] for row in images.rows], images.x)
    model = resources.judged(unit.model, unit.dataset)
    few = None if labels is None else labels[:_ASKED]
    flags = check_model(model, images.x[:_ASKED], few, dataset=unit.dataset, seed=unit.seed)
    if labels is not None and not any(flag.severity == "E" for flag in flags):
        flags += check_data(model, images.x, labels, dataset=unit.dataset, seed=unit.seed)
    known = [sample.label for sample in resources.samples(whole)]
    data = next(spec for spec in suite.datasets if spec.label == unit.dataset)
    named = next(spec for spec in suite.models if spec.label == unit.model)
    shown = Shown(
        ids=whole.sample_ids,
        labels=None if None in known else known,  # type: ignore[arg-type]
        pictures=pictures_of(resources, unit),
        trained_on=resources.trained_on(unit.model),
        train_split=is_train_split(data.name, named.name, data.split),
    )
    return flags + check_set(model, shown, dataset=unit.dataset)


def pictures_of(resources: Resources, unit: Unit) -> Sequence[Image.Image]:
    """The first pictures of a unit that can be read, at their own size; finished inputs are none."""
    dataset = resources.matched(unit.model, unit.dataset).dataset
    found: list[Image.Image] = []
    for number in unit.samples[:LOOKED_AT]:
        with suppress(Exception):  # a decoder may raise anything; the image is unknown in every row already
            picture = dataset.read(number)
            found += [picture] if isinstance(picture, Image.Image) else []
    return found
