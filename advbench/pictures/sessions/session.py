"""One model, attack and goal, set up for all pictures of a command."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from advbench import __version__
from advbench.catalog import UNIVERSAL
from advbench.config.attack import AttackConfig, suited
from advbench.config.pictures.photograph import ORIGINAL
from advbench.datasets.images.files import PictureError
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack as attack_of_table
from advbench.evaluation.attack_factory import refuse_small
from advbench.evaluation.batch import BatchAttack
from advbench.evaluation.goals import MakeGoal, goal_maker
from advbench.evaluation.recording import Provenance
from advbench.models.classifier import Classifier
from advbench.pictures.choice import Choice, read_input
from advbench.pictures.original.photograph import known_preprocessing
from advbench.pictures.outcome import SHOWN, provenance
from advbench.pictures.sessions.surrogate import StandIn
from advbench.pictures.starting import carried_starts, of_shape
from advbench.planning.forms.fast_forms import PLAIN, fastest_here, roughest_form
from attacks import Attack, Model, Stuck, capped, stored
from attacks.searches.starts import takes_starts, with_starts

NO_PICTURES = Choice(())
"""Placeholder for a session whose pictures are read elsewhere."""


class Session(NamedTuple):
    """One model, attack and goal, for all pictures."""

    config: AttackConfig
    """The options of the command."""
    model: Classifier
    """The classifier as loaded."""
    asked: Model
    """The same classifier, possibly with a faster form for the attack."""
    attack: Attack
    """The attack, made for the norm."""
    make_goal: MakeGoal
    """Makes the goal from clean logits and ids."""
    source: Provenance
    """The columns that all records share."""
    pictures: Choice = NO_PICTURES
    """The pictures, and the function that reads them."""
    starts: tuple[Tensor, ...] = ()
    """Images (C, H, W) from which the attack may start, if it needs any."""
    stand_in: StandIn | None = None
    """What the attack is made on instead of the model; None: the model itself."""
    others: tuple["Session", ...] = ()
    """The sessions of other attacks on the same pictures; the smallest perturbation counts."""

    @property
    def all(self) -> "tuple[Session, ...]":
        """This session and those of the other attacks, in the order in which the attacks were named."""
        return (self, *self.others)

    def on(self, stand_in: StandIn | None) -> "Session":
        """The session with its attacks made on a surrogate; None: on the model itself."""
        return self._replace(stand_in=stand_in, others=tuple(each.on(stand_in) for each in self.others))

    def setup(self, x: Tensor, on_pass: Callable[[], None]) -> BatchAttack:
        """The attack with its settings for images (N, C, H, W)."""
        return BatchAttack(
            model=self.asked if self.stand_in is None else self.stand_in.before(self.model, x),
            attack=self.attack_on(x),
            make_goal=self.make_goal,
            source=self.source,
            keep=_kept(self.config),
            thresholds=self.model.thresholds,
            mask=self.config.mask,
            # A stored perturbation is applied to every picture, as its user wants to see it there.
            attack_all=self.config.attack == UNIVERSAL or isinstance(self.attack, Stuck),
            on_pass=on_pass,
        )

    def attack_on(self, x: Tensor) -> Attack:
        """The attack for images (N, C, H, W), with the starting images of the same shape."""
        starts = of_shape(self.starts, x)
        return self.attack if starts is None else with_starts(self.attack, starts)


def open_session(
    config: AttackConfig, model: Classifier, attack: Attack | None = None, pictures: Choice = NO_PICTURES
) -> Session:
    """Make the goal that a configuration names, and its attack if none is given.

    Raises:
        UserError: The goal names a class or a k that the model does not have, or the attack does not accept its
            parameters.
    """
    if attack is None:
        attack = attack_of_table(config.attack, config.norm, config.params)
    attack = attack if config.max_passes is None else capped(attack, config.max_passes)
    if config.size == ORIGINAL:
        attack = stored(attack, config.kappa)
    if model.input_size is not None:
        refuse_small([config.attack], model.sides(otherwise=0), f"the inputs of {config.model}")
    config = suited(config, model.num_classes, several=model.several)
    if config.prove and model.several:
        raise UserError(f"{config.model} has several labels, which proofs do not support", hint="leave --prove out")
    make_goal = goal_maker(config.goal, model)
    starts = carried_starts(model, config.model) if takes_starts(attack) else ()
    source = provenance(config, model, attack, __version__)
    return Session(config, model, model, attack, make_goal, source, pictures, tuple(starts))


def open_sessions(
    config: AttackConfig, model: Classifier, attacks: Sequence[Attack], pictures: Choice = NO_PICTURES
) -> Session:
    """Open the session of the first of several attacks, with the sessions of the others in it.

    Args:
        config: The options, with those of the other attacks as its `others`.
        model: The classifier under attack.
        attacks: All of these attacks, in order.
        pictures: The pictures, and the function that reads them.

    Raises:
        UserError: As for :func:`open_session`; or pictures cannot be attacked at their original size.
    """
    config = suited(config, model.num_classes, several=model.several)
    if config.size == ORIGINAL:
        known_preprocessing(model)
    others = [replace(other, goal=config.goal, goal_named=True) for other in config.others]
    first, *rest = (
        open_session(one, model, attack, pictures) for one, attack in zip((config, *others), attacks, strict=True)
    )
    return first._replace(others=tuple(rest))


def hastened(session: Session) -> Session:
    """The session with the fastest form of what its attack sees, on this machine, if it can compute gradients in one.

    Args:
        session: The session with the network as loaded; the forms are timed on its first readable picture.
    """
    config, model, attack = session.config, session.model, session.attack
    session = session._replace(others=tuple(map(hastened, session.others)))
    if (most := roughest_form(config.attack, attack, config.goal.kind)) == PLAIN:
        return session
    for path in session.pictures.pictures:
        with suppress(PictureError):
            image = read_input(path, model, session.pictures.read).to(next(model.buffers()).device)
            if session.stand_in is not None:
                quick = session.stand_in.hastened(image.unsqueeze(0), most)
                return session._replace(
                    stand_in=quick, source=provenance(config, model, attack, __version__, quick.form)
                )
            asked = fastest_here(model, image.unsqueeze(0), most)
            return session._replace(asked=asked, source=provenance(config, model, attack, __version__, asked.form))
    return session


def _kept(config: AttackConfig) -> int:
    """Number of top classes that a record keeps."""
    k = max(config.goal.k, len(config.goal.classes))
    return k if k > 1 else SHOWN
