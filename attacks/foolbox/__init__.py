"""Every attack of Foolbox 3.3.4 behind the two protocols of this library.

:mod:`attacks.foolbox.table` lists the type, goals, requirements and faults of each. Foolbox is imported when one of
them is created.
"""

import importlib.util
import traceback
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.foolbox.model import FoolboxModel
from attacks.foolbox.parameters import check_time_limit, complete
from attacks.foolbox.row import ANY, Row
from attacks.foolbox.run import CARRIED, answer, apart, choose, load
from attacks.foolbox.table import ROWS, near_names
from attacks.goals import GOALS, Goal, met
from attacks.norms import NORMS, Norm
from attacks.protocols import Access, AttackError, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_arguments, check_call, check_images, check_norm
from attacks.searches.draws import derive
from attacks.searches.nearest import Nearest
from attacks.searches.starts import check_fit, check_starts, find_starts, why_none
from attacks.searches.track import Survivors

__all__ = ["ROWS", "TIME_LIMIT", "FoolboxAttack", "get"]

TIME_LIMIT = 600.0
"""Default time limit in seconds per image."""


def get(
    name: str,
    *,
    norm: Norm | None = None,
    time_limit: float = TIME_LIMIT,
    feed: Tensor | None = None,
    starts: Tensor | None = None,
    **parameters: object,
) -> "FoolboxAttack":
    """Create one of Foolbox's attacks.

    Args:
        name: A key of :data:`ROWS`: "linf-pgd", "ddn", "l2-carlini-wagner", ...
        norm: The norm in which perturbations are measured; None: the first of the attack's norms.
        time_limit: Seconds per image (for images attacked together, times their number); an attack that takes longer
            fails. The solvers of the four brendel-bethge attacks can loop endlessly beyond the reach of any limit: run
            these in a process that you can kill.
        feed: Images (M, ...) in [0, 1] for "dataset" to choose from; None: the 20 photographs (3 channels) or digits (1
            channel) that ship with Foolbox, resized.
        starts: Images (M, ...) in [0, 1] for an attack that needs starting points, used where ``init_attack`` found
            none: the nearest that meets the goal is taken. If there is none either, random images are tried.
        **parameters: Parameters of Foolbox's class, except ``distance`` and ``constraint`` (see ``norm``),
            ``channel_axis`` and ``tensorboard``. ``init_attack`` is the name of a minimum-norm attack of Foolbox.

    Returns:
        The attack, with all its parameters.

    Raises:
        ValueError: For an unknown name, norm or parameter, or a value of the wrong type.
        ModuleNotFoundError: If Foolbox, or numba for an attack that needs it, is not installed.

    Example:
        >>> attack = get("ddn", steps=50)
        >>> attack.kind, attack.norm, attack.parameters
        ('minimum norm', L2(), {'init_epsilon': 1.0, 'steps': 50, 'gamma': 0.05})
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> goal.margin(attack(lambda x: x, x, goal)) < 0
        tensor([True])
    """
    if name not in ROWS:
        raise ValueError(f"expected the name of an attack of Foolbox, got {name!r}{near_names(str(name))}")
    row = ROWS[name]
    norm = NORMS[row.norms[0]]() if norm is None else norm
    check_norm(f"foolbox/{name}", norm, row.norms)
    check_time_limit(time_limit)
    if feed is not None and "dataset" not in (name, parameters.get("init_attack")):
        raise ValueError(f"expected no feed for foolbox/{name}, which draws from no images, got one")
    if feed is not None:
        check_images(feed, "images to feed")
    if "numba" in row.needs and importlib.util.find_spec("numba") is None:
        raise ModuleNotFoundError(f'foolbox/{name} needs numba: pip install "advbench[brendel-bethge]"')
    parameters = complete(row, getattr(load().attacks, row.attack), parameters)
    attack = FoolboxAttack(name=name, norm=norm, parameters=parameters, time_limit=time_limit, feed=feed, starts=starts)
    if starts is not None and not attack.needs_start:
        raise ValueError(f"expected no starts for foolbox/{name}, which starts from the image itself, got some")
    check_starts(starts)
    return attack


class NoStartError(RuntimeError):
    """No image was found from which an attack could start."""


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack:
    """One of Foolbox's attacks, of either kind; created by :func:`get`.

    Attacks that draw random numbers, or in which the images of a batch influence each other, run image by image. A
    batch that fails is rerun image by image.

    Example:
        >>> attack = get("linf-basic-iterative", steps=5)
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> attack(lambda x: x, x, goal, eps=0.125)
        tensor([[0.4750, 0.6250]])
    """

    name: str
    """Key of :data:`ROWS`."""
    norm: Norm
    """The norm in which perturbations are measured."""
    parameters: dict[str, object]
    """All parameters of Foolbox's class."""
    time_limit: float = TIME_LIMIT
    """Time limit in seconds per image."""
    feed: Tensor | None = field(default=None, repr=False)
    """Images (M, ...) in [0, 1] for "dataset" to choose from."""
    starts: Tensor | None = field(default=None, repr=False, compare=False)
    """Images (M, ...) in [0, 1] to start from if ``init_attack`` finds nothing."""

    @property
    def kind(self) -> Kind:
        """Whether it takes an ``eps``; Foolbox's "plain" attack does not."""
        return "budget" if self._row.kind == "budget" else "minimum norm"

    @property
    def access(self) -> Access:
        """The broadest access it needs to the model."""
        return self._row.access

    @property
    def search(self) -> Search:
        """How it finds its candidates."""
        return self._row.search

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms in which its results can be measured."""
        return self._row.norms

    @property
    def needs_start(self) -> bool:
        """Whether it needs an image that meets the goal before it can begin."""
        return bool(self._start)

    @property
    def _row(self) -> Row:
        return ROWS[self.name]

    @property
    def _start(self) -> str:
        """Name of the attack that finds the starting points; empty if it needs none."""
        return str(self.parameters.get("init_attack") or self._row.start)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        If nothing was found that meets the goal within ``eps``, the original image is returned; the black, grey or
        random images that Foolbox returns in that case are not results.
        """
        check_call(self, eps, seed)
        check_arguments(model, x, goal, self.norm, eps)
        check_fit(self.starts, x)
        self._check(x, goal)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        x_adv, errors = active.x.clone(), dict[int, Exception]()
        for rows in self._together(active):
            self._attempt(active, rows, seed, x_adv, errors)
        best = Nearest(active.x, self.norm, active.eps)
        best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))
        found = active.finish(best)
        if errors:
            reasons = {int(active.rows[row]): f"{type(e).__name__}: {e}".rstrip(": ") for row, e in errors.items()}
            raise AttackError(found, reasons) from next(iter(errors.values()))
        return found

    def _check(self, x: Tensor, goal: Goal) -> None:
        for row in filter(None, (self._row, ROWS.get(self._start))):
            if row.goals != ANY and goal.name not in row.goals:
                raise ValueError(_refusal(row, goal, self.norm))
            if x.ndim != 4 and ("4-D input" in row.needs or self.parameters.get("reduced_dims")):
                raise ValueError(f"expected images (N, C, H, W) for foolbox/{row.name}, got shape {tuple(x.shape)}")
            if "feed" in row.needs:
                self._check_feed(x)

    def _check_feed(self, x: Tensor) -> None:
        if self.feed is not None and self.feed.shape[1:] != x.shape[1:]:
            raise ValueError(f"expected feed like the images, {tuple(x.shape)}, got shape {tuple(self.feed.shape)}")
        if self.feed is None and (x.ndim != 4 or x.shape[1] not in CARRIED):
            raise ValueError(f"expected feed=images for images {tuple(x.shape)}, got None")

    def _together(self, active: Survivors) -> list[Tensor]:
        """Rows of the survivors, split into groups that may be attacked together."""
        match self._row.draws:
            case "always" | "never" as draws:
                alone = draws == "always"
            case "no grid_search":
                alone = not self.parameters["grid_search"]
            case parameter:
                alone = bool(self.parameters[parameter])
        places = torch.arange(len(active), device=active.x.device)
        # Foolbox takes one eps for the whole batch.
        together = not alone and not self._row.mixes and bool((active.eps == active.eps[0]).all())
        return [places] if together else list(places.unsqueeze(1))

    def _attempt(self, active: Survivors, rows: Tensor, seed: int, x_adv: Tensor, errors: dict[int, Exception]) -> None:
        """Store candidates for some of the survivors in ``x_adv``, or their errors in ``errors``."""
        try:
            x_adv[rows] = self._propose(active, rows, seed)
        # Foolbox may raise anything, including AssertionError and IndexError; it affects only these images.
        except Exception as error:
            # The traceback's frames may hold gigabytes per image.
            traceback.clear_frames(error.__traceback__)
            if len(rows) == 1:
                errors[int(rows)] = error
                return
            for row in rows.unsqueeze(1):
                self._attempt(active, row, seed, x_adv, errors)

    def _propose(self, active: Survivors, rows: Tensor, seed: int) -> Tensor:
        """Run Foolbox on some of the survivors."""
        with apart(derive(seed, int(active.goal.ids[rows[0]])), active.x.device):
            x, goal, eps = active.x[rows], active.goal.select(rows), active.eps[rows]
            door = FoolboxModel(active.model, goal, x.dtype, self.time_limit * len(rows))
            before = x.float()
            after = self._run(door, before, float(eps[0]), seed)
        if not bool(after.isfinite().all()):
            raise ArithmeticError("Foolbox returned an image that is not finite")
        # Unchanged values stay exactly the same, in any precision.
        x_adv = torch.where(after == before, x, after.to(x.dtype)).clamp(0, 1)
        return self.norm.within(x, x_adv, eps) if self.kind == "budget" else x_adv

    def _run(self, door: FoolboxModel, x: Tensor, eps: float, seed: int) -> Tensor:
        """Foolbox's own result for images (n, ...), float32."""
        if self.name == "dataset":
            return choose(door, x, self.feed)
        parameters = {name: value for name, value in self.parameters.items() if name != "init_attack"}
        if self.name == "hop-skip-jump":
            parameters["constraint"] = self.norm.name
        options: dict[str, object] = {"epsilon": eps} if self.kind == "budget" else {}
        if self._start:
            options["starting_points"] = self._starting_points(door, x, seed)
        return answer(self._row, parameters, door, x, options)

    def _starting_points(self, door: FoolboxModel, x: Tensor, seed: int) -> Tensor:
        """Adversarial images (n, ...) to start from: those that Foolbox finds, then given ones, then random ones."""
        settings = {} if self.parameters.get("init_attack") else self._row.start_parameters
        own = get(self._start, feed=self.feed, **settings)._run(door, x, torch.inf, seed)
        found = door.fools(own, torch.arange(len(x), device=x.device))
        if bool(found.all()):
            return own
        rest = (~found).nonzero().squeeze(1)

        def fools(x_adv: Tensor, rows: Tensor) -> Tensor:
            return door.fools(x_adv, rest[rows])

        ids = door.goal.ids[rest]
        other, hit = find_starts(fools, self.norm, x[rest], ids, starts=self.starts, seed=seed, draws=_START_DRAWS)
        if not bool(hit.all()):
            why = why_none(_START_DRAWS, self.starts)
            raise NoStartError(f"{why}; foolbox/{self._start} found none (try another init_attack)")
        return own.index_copy(0, rest, other)


_START_DRAWS = 100
"""Number of random images tried as a start, if neither ``init_attack`` nor the given images provide one."""
_TAKE_ANY = {"budget": "PGD or APGD", "minimum norm": "FMN or TopK"}


def _refusal(row: Row, goal: Goal, norm: Norm) -> str:
    """The message on which goals a Foolbox attack takes, and which attacks take the others."""
    takes = " or ".join(GOALS[name].__name__ for name in row.goals)
    return (
        f"expected a goal that foolbox/{row.name} takes ({takes}), got {type(goal).__name__}: "
        f"for any goal in {norm.name} there are {_TAKE_ANY[row.kind]} in attacks"
    )
