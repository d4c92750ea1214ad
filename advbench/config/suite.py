"""What a suite asks for, checked before anything heavy is imported: models x data sets x attacks x goals x norms x eps.

A mistake in a suite file ends in one message that names the file, the key and what was probably meant.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, ValidationInfo, model_validator

from advbench.catalog import ATTACKS, lacking
from advbench.catalog.cards import AttackCard
from advbench.catalog.parameters import Parameter
from advbench.catalog.user_datasets import dataset_card
from advbench.config.budgets import Usual, usual_budgets
from advbench.config.data.masked import with_masks_of
from advbench.config.data.source import DataSource
from advbench.config.fields import (
    Corruptions,
    EpsTable,
    Goals,
    Mask,
    NormNames,
    Prove,
    Severities,
    Strict,
    in_a_word,
    known,
    listed,
    named,
    waived,
    with_label,
)
from advbench.config.gates import Gates
from advbench.config.masks import with_mask
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import Surrogates, SurrogateSpec

Trust = Literal["quick", "full"]
"""How far the trust checks go."""


class DatasetSpec(DataSource):
    """A data set of the suite.

    Example:
        >>> DatasetSpec(name="mnist-samples", eps={"linf": ["0.1", 0.3]}).eps
        {'linf': (0.1, 0.3)}
    """

    name: Annotated[str, known(dataset_card)]
    """A data set that `advbench datasets` lists, or `hf/NAME` for one on the Hugging Face hub."""
    classes: Path | None = None
    """A JSON file that maps the classes of the data set to those of the models; a relative path starts at the suite
    file. None: classes are matched by name, WordNet id or number."""
    images: PositiveInt | None = None
    """Number of images, in place of the suite's."""
    eps: EpsTable = Field(default={})
    """Budgets on this data set, in place of the suite's."""
    mask: Mask = None
    """What may change in its images, in place of the suite's mask; a picture's path is relative to the suite file."""
    label: str = ""
    """Name in records and reports, which ends with the mask if there is one; default: the name above."""

    @model_validator(mode="before")
    @classmethod
    def _label(cls, values: Any) -> Any:
        return with_label(values)

    @model_validator(mode="after")
    def _label_with_mask(self, info: ValidationInfo) -> Self:
        object.__setattr__(self, "label", self.under(None, (info.context or {}).get("folder", Path())).label)
        return self

    def under(self, mask: str | None, folder: Path = Path()) -> Self:
        """The data set under its own mask, or under this one, as its label then says.

        Args:
            mask: Mask of data sets that have none of their own.
            folder: Folder in which a relative path of a picture starts.

        Example:
            >>> DatasetSpec(name="mnist-samples").under("border:4").label
            'mnist-samples, only border:4'
        """
        own = self.mask or mask
        changed = {} if own is None else {"mask": own, "label": with_mask(self.label, own, folder)}
        return self.model_copy(update=changed)


class AttackSpec(Strict):
    """An attack of the suite.

    Example:
        >>> AttackSpec(name="pgd", params={"steps": 10}, norms="l2").norms
        ('l2',)
    """

    name: Annotated[str, known(ATTACKS.__getitem__)]
    """An attack that `advbench attacks` lists."""
    params: dict[str, Parameter] = Field(default={})
    """Parameters of the attack; those not given have the attack's defaults."""
    max_passes: PositiveInt | None = None
    """Maximum of forward and backward passes on each image; the best candidate by then counts. None: no limit."""
    goals: Goals | None = None
    """Goals of this attack, in place of the suite's."""
    norms: NormNames | None = None
    """Norms of this attack, in place of the suite's."""
    eps: EpsTable | None = None
    """Budgets of this attack, in place of the suite's and the data set's."""
    budgets: Usual | None = None
    """Budgets that suit the data, "small" or "large", in place of all others; None: see eps."""
    mask: Mask = None
    """Mask of what this attack may change: every data set is used once more under it, only for the attacks that name
    it. None: the data set's own mask, if any."""
    surrogates: Annotated[tuple[str, ...], BeforeValidator(listed)] | None = None
    """Labels of the suite's surrogates that it is made on; an empty list: on the model itself. None: all of them."""
    transfer: bool = False
    """Whether it is only made on surrogates: if the suite has none, it is left out."""

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> Self:
        if waived(info, self.name):
            return self
        card = ATTACKS[self.name]
        if command := lacking(card):
            raise ValueError(f"attack {self.name} needs the package {card.needs}, which is not installed; {command}")
        for norm in self.norms or ():
            if norm not in card.norms:
                raise ValueError(f"attack {self.name} works in {', '.join(card.norms)}, not in {norm}")
        for goal in self.goals or ():
            if goal.partition(":")[0] not in card.goals:
                raise ValueError(f"attack {self.name} takes the goal {' or '.join(card.goals)}, not {goal}")
        return self

    @property
    def card(self) -> AttackCard:
        """What the table says of it."""
        return ATTACKS[self.name]


class Suite(Strict):
    """Models x data sets x attacks x goals x norms x budgets; a model is run on the data sets made for it.

    Example:
        >>> suite = Suite(name="one", models="efficientnet_lite0", datasets="imagenet-samples", attacks="pgd")
        >>> suite.norms, suite.eps["linf"][0] * 255
        (('linf',), 2.0)
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    """Name of the suite and of the run's folder: letters, digits, dots, dashes and underscores."""
    description: str = ""
    """Purpose of the suite."""
    models: Annotated[tuple[Annotated[ModelSpec, BeforeValidator(named)], ...], BeforeValidator(listed)]
    """Models, as names or tables."""
    surrogates: Surrogates = ()
    """Models that attacks are made on; the suite's own models then only judge. Each is the label of a model of the
    suite, a name, or a table; a list in the list is an ensemble. None: attacks are made on the model itself."""
    datasets: Annotated[tuple[Annotated[DatasetSpec, BeforeValidator(in_a_word)], ...], BeforeValidator(listed)]
    """Data sets, as names, tables, or strings as in `--data`: "folder:val/,split=test"."""
    attacks: Annotated[tuple[Annotated[AttackSpec, BeforeValidator(named)], ...], BeforeValidator(listed)]
    """Attacks, as names or tables; may be left out if there are corruptions."""
    corruptions: Corruptions = ()
    """Corruptions whose accuracy is measured alongside the attacks: names, `all`, or `imagenet-c` for the fifteen of
    the benchmark. They have no eps, and are not part of any worst case."""
    severities: Severities = (1, 2, 3, 4, 5)
    """Severities of the corruptions, 1 to 5; the mean corruption error needs all of them."""
    goals: Goals = ("untargeted",)
    """Goals of all attacks that support them."""
    norms: NormNames = ("linf",)
    """Norms in which attacks are run, if they support them."""
    eps: EpsTable = Field(default={"linf": (2 / 255,)})
    """Budgets for data sets that have none of their own."""
    budgets: Usual | None = None
    """Budgets that suit the data, "small" or "large", for data sets that have none of their own; None: those of eps."""
    mask: Mask = None
    """What attacks may change in the images of data sets that have no mask of their own: a picture (white may change;
    its path is relative to the suite file), box:x,y,width,height, border:8 or saliency:5%. None: everything."""
    images: PositiveInt | None = None
    """Number of images of each data set, always the same ones for the same seed; None: all."""
    seed: Annotated[NonNegativeInt, Field(lt=2**32)] = 0
    """Seed of the choice of images and of all random draws."""
    noise: bool = True
    """Whether random noise of every size is run alongside the attacks, for comparison."""
    prove: Prove | None = None
    """Whether to prove the images that no attack fools, and what that may cost; None: nothing is proved."""
    trust: Trust = "quick"
    """Which trust checks are run: "quick" ones, or "full": every attack within an eps is also run on a few images with
    twice as many steps, from another start, without a bound, against random points, and on planted perturbations."""
    save: Literal["none", "gallery", "all"] = "gallery"
    """Which adversarial images are kept: none, the most interesting of each unit, or all."""
    time_limit: Annotated[float, Field(gt=0)] = 1800.0
    """Time limit for one unit of work, seconds; images of a unit that takes longer are unknown."""
    stop: Literal["end", "decided"] = "end"
    """When the run ends. "end": after the last image. "decided": the last attack of the suite takes the images in a
    random order, and stops once every gate is decided at the gates' `alpha`, or `width_pp` is reached."""
    width_pp: Annotated[float, Field(gt=0, le=100)] | None = None
    """Width of the interval of each robust accuracy, percentage points, at which a run with `stop = "decided"` may
    stop; None: at no width."""
    precise: bool = False
    """Whether attacks take their gradients from the network itself, rather than from its fastest form on this machine;
    verdicts always come from the network itself."""
    device: str = "cpu"
    """cpu, cuda, cuda:N, mps, or auto."""
    profile: bool = False
    """Whether reports begin with a profile: a row for each threat, and the worst case over all, image by image."""
    gates: Gates = Gates()
    """Gates that the run must pass."""

    def __repr__(self) -> str:
        sizes = f"{len(self.models)} models, {len(self.datasets)} data sets, {len(self.attacks)} attacks"
        return f"Suite({self.name!r}: {sizes}, goals {', '.join(self.goals)}, norms {', '.join(self.norms)})"

    __str__ = __repr__

    @model_validator(mode="before")
    @classmethod
    def _corruptions_suffice(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("corruptions"):
            return {"attacks": (), **values}
        return values

    @model_validator(mode="after")
    def _attacks_are_there(self) -> Self:
        there = [spec.name for spec in self.attacks]
        if self.mask is not None and self.mask in [spec.mask for spec in self.attacks]:
            raise ValueError(f"an attack names the mask {self.mask}, which is that of the whole suite; leave one out")
        for model in self.models:
            for name in model.attacks or ():
                if name not in there:
                    raise ValueError(f"model {model.label} has the attack {name!r}, which the suite does not have")
        known = [each.label for each in self.surrogates]
        for spec in self.attacks:
            for name in spec.surrogates or ():
                if name not in known:
                    there_are = f"there are {', '.join(known)}" if known else "it has none"
                    raise ValueError(f"attack {spec.name} has the surrogate {name!r}, and of the suite's {there_are}")
        return self

    @property
    def every_model(self) -> tuple[ModelSpec, ...]:
        """The models that are judged and those that attacks are made on, each once."""
        members = (model for surrogate in self.surrogates for model in surrogate.models)
        return tuple({model.label: model for model in (*members, *self.models)}.values())

    def surrogate(self, label: str) -> SurrogateSpec:
        """The surrogate with this label."""
        return next(each for each in self.surrogates if each.label == label)

    def data(self, label: str) -> DatasetSpec:
        """The data set with this label; a `ValueError` if there is none, as where the plan of a run was edited."""
        for data in self.datasets:
            if data.label == label:
                return data
        raise ValueError(f"expected a data set of the suite, got {label!r}")

    def attacks_on(self, data: DatasetSpec) -> list[tuple[int, AttackSpec]]:
        """The attacks that are run on a data set, with their places: those that name its mask, or else all others."""
        named = [pair for pair in enumerate(self.attacks) if pair[1].mask is not None and pair[1].mask == data.mask]
        return named or [pair for pair in enumerate(self.attacks) if pair[1].mask is None]

    def budgets_on(self, data: DatasetSpec) -> Mapping[str, tuple[float, ...]]:
        """The budgets in every norm, on a data set."""
        return {**(usual_budgets(data.name, self.budgets) if self.budgets else self.eps), **data.eps}

    @model_validator(mode="after")
    def _mask_everywhere(self, info: ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder", Path())
        data = tuple(data.under(self.mask, folder) for data in self.datasets)
        object.__setattr__(self, "datasets", with_masks_of([spec.mask for spec in self.attacks], data, folder))
        return self

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        kinds = (("model", self.models), ("dataset", self.datasets), ("surrogate", self.surrogates))
        for kind, specs in kinds:
            if not specs and kind != "surrogate":
                raise ValueError(f"expected at least one {kind}, got none")
            labels = [spec.label for spec in specs]
            if twice := sorted({label for label in labels if labels.count(label) > 1}):
                raise ValueError(f"two {kind}s are called {twice[0]!r}; give one of them a label")
        known = {model.label: model for model in self.every_model}
        for surrogate in self.surrogates:
            for model in surrogate.models:
                if known[model.label] != model:
                    raise ValueError(f"two models are called {model.label!r}; give that of the surrogate a label")
        return self


HARMLESS = {
    Suite: {"name", "description", "save", "time_limit", "width_pp", "gates", "profile"},
    Prove: set[str](),
    ModelSpec: set[str](),
    SurrogateSpec: set[str](),
    DatasetSpec: set[str](),
    AttackSpec: set[str](),
}
"""Fields that may differ on resuming a run, because they do not decide what a row says; all others are identity."""
