"""The claims of an evidence archive, in a form that can be recounted from its images. Does not import torch."""

import json
import math
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator

from advbench.config.fields import Strict
from advbench.errors import UserError
from advbench.evidence.standalone import GOAL, TOTAL, known
from advbench.records.unit import canonical

FORMAT = 1
"""Version of the archive's format."""
MOST_IMAGES = 10**6
"""Largest number of images of a data set."""
DIGITS = 6
"""Number of decimal places of the ends of intervals."""
Digest = Annotated[str, Field(pattern="^([0-9a-f]{16,64})?$")]
"""Hexadecimal digits, or empty if there is no digest."""
Side = Annotated[int, Field(ge=1, le=2**16)]
"""Number of channels, or of pixels along a side."""
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
"""A share of images."""
Size = Annotated[FiniteFloat, Field(ge=0)]
"""Size of a perturbation, image units; for L0 a number of values."""


class ModelClaim(Strict):
    """The model that the claims are about."""

    label: str
    """Name of the model in the run."""
    digest: Digest
    """Digest of the loaded model, as `advbench run` records it in the manifest."""
    weights_sha256: Digest
    """SHA-256 digest of the weights file; empty if there is none."""
    onnx_sha256: tuple[Digest, ...]
    """SHA-256 digests of ONNX files to which the archive's author exported the model."""
    mean: tuple[FiniteFloat, ...]
    """Mean that is subtracted from images in [0, 1] before they go into the file with that digest."""
    std: tuple[FiniteFloat, ...]
    """Divisor applied after that."""


class DataClaim(Strict):
    """The clean images of a data set; every list has an entry for each image."""

    label: str
    """Name of the data set in the run."""
    num_classes: Annotated[int, Field(ge=2, le=10**6)]
    """Number of classes among which the model is judged."""
    shape: tuple[Side, Side, Side]
    """Channels, height and width of an image."""
    ids: Annotated[tuple[Digest, ...], Field(max_length=MOST_IMAGES)]
    """Ids of the images, digests of their 8-bit content; for images not in the archive, the run's ids."""
    labels: tuple[NonNegativeInt | None, ...]
    """True classes; None if unknown."""
    clean_class: tuple[NonNegativeInt | None, ...]
    """Predicted classes; None if nothing is claimed about the clean image."""
    lead: tuple[Size | None, ...]
    """Lead of the first logit over the second, which reveals different weights; None as above."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({len(each) for each in (self.ids, self.labels, self.clean_class, self.lead)}) > 1:
            raise ValueError("expected an id, a label, a class and a lead for each image")
        if any(each is not None and each >= self.num_classes for each in (*self.labels, *self.clean_class)):
            raise ValueError(f"expected classes below {self.num_classes}")
        if [each is None for each in self.clean_class] != [each is None for each in self.lead]:
            raise ValueError("expected a lead exactly where a class is claimed")
        return self


class LevelClaim(Strict):
    """Claim about a threat at one eps."""

    eps: Annotated[FiniteFloat, Field(gt=0)] | None
    """Budget, image units; None: no bound."""
    images: NonNegativeInt
    """Number of images for which the goal has a meaning."""
    wrong: NonNegativeInt
    """Number of these that are misclassified when clean."""
    fooled: NonNegativeInt
    """Number of the other images for which an image in the archive meets the goal within eps."""
    robust: NonNegativeInt
    """Number of the remaining images: an upper bound on the number of robust images."""
    low: Share
    """Lower end of the 95 % interval of that share."""
    high: Share
    """Upper end of that interval."""


class ThreatClaim(Strict):
    """The adversarial images of a goal and a norm on a data set."""

    data: NonNegativeInt
    """Index of the data set among those of the archive."""
    goal: Annotated[str, Field(pattern=f"^({GOAL})$", max_length=1000)]
    """Goal, with class numbers in place of names."""
    norm: Literal["linf", "l2", "l1", "l0"]
    """Norm in which perturbations are measured."""
    sizes: tuple[Size | None, ...]
    """Size of each image's perturbation; None if the archive has none."""
    levels: tuple[LevelClaim, ...]
    """Claims at each eps."""


class Claims(Strict):
    """All claims of an archive.

    Example:
        >>> model = ModelClaim(label="net", digest="", weights_sha256="", onnx_sha256=(), mean=(0,), std=(1,))
        >>> read_claims(Claims(format=1, model=model, data=(), threats=()).text()).model.label
        'net'
    """

    format: Literal[1]
    """Version of the archive's format."""
    model: ModelClaim
    """The model that the claims are about."""
    data: tuple[DataClaim, ...]
    """The data sets."""
    threats: tuple[ThreatClaim, ...]
    """The claims for each threat."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for threat in self.threats:
            if threat.data >= len(self.data):
                raise ValueError(f"expected a data set below {len(self.data)}, got {threat.data}")
            if len(threat.sizes) != len(self.data[threat.data].ids):
                raise ValueError("expected a size or nothing for each image of the data set")
        if sum(math.prod(each.shape) for each in self.data) * len(members(self)) > TOTAL:
            raise ValueError(f"expected images with at most {TOTAL} values in all")
        return self

    def text(self) -> str:
        """The canonical text of the claims."""
        return canonical(self.model_dump(mode="json"))


def read_claims(text: str) -> Claims:
    """Read the output of :meth:`Claims.text`.

    Raises:
        UserError: It is anything else, even if it differs only by a space.
    """
    try:
        claims = Claims.model_validate(json.loads(text))
        same = claims.text() == text
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise UserError(f"the claims are not in order: {where or 'all'}: {first['msg'][:200]}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"the claims are not readable JSON: {str(error)[:200]}") from None
    if not same:
        raise UserError("the claims are not in their canonical form, so two readers may interpret them differently")
    return claims


def members(claims: Claims) -> set[str]:
    """Names of the pictures in an archive with these claims."""
    names = {f"images/{d}/{i}.png" for d, data in enumerate(claims.data) for i in known(data.clean_class)}
    for number, threat in enumerate(claims.threats):
        for i in known(threat.sizes):
            names |= {f"deltas/{number}/{i}.png", f"images/{threat.data}/{i}.png"}
    return names
