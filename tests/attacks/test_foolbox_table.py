"""The table of Foolbox's attacks, fact by fact, against Foolbox itself."""

import inspect
import re

import eagerpy as ep
import foolbox as fb
import numpy as np
import pytest
import torch
from foolbox.attacks.base import FixedEpsilonAttack, FlexibleDistanceMinimizationAttack, MinimizationAttack
from foolbox.criteria import Criterion, Misclassification, TargetedMisclassification
from foolbox_quick import HAS_NUMBA, NET, PARAMETERS, QUICK, images

from attacks import NORMS
from attacks.foolbox import ROWS
from attacks.foolbox.row import ANY, CLASSES, TARGETED, UNTARGETED

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

MODEL = fb.PyTorchModel(NET.eval(), bounds=(0, 1))
X = images(3)
FIRST = NET(X).argmax(1)

each_row = pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
each_quick = pytest.mark.parametrize("row", [ROWS[name] for name in QUICK], ids=lambda row: row.name)


class OwnCriterion(Criterion):
    """Neither of Foolbox's two, with the same meaning as the first."""

    def __repr__(self):
        return "own"

    def __call__(self, perturbed, outputs):
        return ep.astensor(outputs.raw.argmax(1) != FIRST[: len(outputs)])


def built(row, **others):
    """Foolbox's attack itself."""
    parameters = {**row.defaults, **PARAMETERS.get(row.name, {}), **others}
    if isinstance(parameters.get("init_attack"), str):
        start = fb.attacks.InversionAttack()
        parameters |= {"init_attack": start}
        if row.name == "binarization-refinement":
            del parameters["init_attack"]
    return getattr(fb.attacks, row.attack)(**parameters)


def run(row, x=X, criterion=None, attack=None):
    """Run Foolbox's attack itself, unprotected."""
    attack = attack or built(row)
    options = {"epsilon": 1.0} if row.kind == "budget" else {}
    if row.name == "binarization-refinement":
        options["starting_points"] = x * 0.99
    if row.name == "dataset":
        attack.feed(MODEL, x)
    return attack.run(MODEL, x, criterion or Misclassification(FIRST[: len(x)]), **options)


def test_every_class_has_a_row_and_every_row_its_class():
    exported = {
        name
        for name, thing in vars(fb.attacks).items()
        if inspect.isclass(thing) and issubclass(thing, fb.Attack) and thing is not fb.Attack and thing.__name__ == name
    }
    assert {row.attack for row in ROWS.values()} == exported
    assert len(ROWS) == len(exported) == 58


@each_row
def test_names_are_lower_case_words(row):
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", row.name)
    assert ROWS[row.name] is row
    assert row.norms == tuple(norm for norm in row.norms if norm in NORMS)
    if len(row.norms) == 1 and row.attack[:2] in ("L0", "L1", "L2", "Li", "LI"):
        assert row.name.startswith(row.norms[0])


@each_row
def test_kind(row):
    attack = getattr(fb.attacks, row.attack)
    assert (row.kind == "budget") == issubclass(attack, FixedEpsilonAttack)
    assert (row.kind == "minimum norm") == issubclass(attack, MinimizationAttack)
    assert (row.kind == "plain") == (row.name == "spatial")


@each_row
def test_who_takes_gradients_says_so(row):
    mro = [each for each in getattr(fb.attacks, row.attack).__mro__ if each.__module__.startswith("foolbox.attacks.")]
    own = [inspect.getsource(each) for each in mro if each.__module__ != "foolbox.attacks.base"]
    takes = any("value_and_grad" in source or "value_aux_and_grad" in source for source in own)
    assert takes == (row.access == "gradients")
    assert takes or row.search in ("blind", "many steps")


@each_quick
def test_norms(row):
    attack = built(row)
    if row.kind == "plain" or isinstance(attack, FlexibleDistanceMinimizationAttack):
        assert row.norms == ("l2", "l1", "linf", "l0")
        return
    assert attack.distance is getattr(fb.distances, row.norms[0])
    if len(row.norms) > 1:
        assert row.name == "hop-skip-jump"
        assert [built(row, constraint=norm).distance for norm in row.norms] == [fb.distances.l2, fb.distances.linf]


def test_norms_of_the_attacks_that_need_numba():
    for norm in NORMS:
        row = ROWS[f"{norm}-brendel-bethge"]
        assert (row.norms, getattr(fb.attacks, row.attack).distance) == ((norm,), getattr(fb.distances, norm))


CRITERIA = {
    UNTARGETED: Misclassification(FIRST),
    TARGETED: TargetedMisclassification((FIRST + 1) % 6),
    ANY: OwnCriterion(),
}


@each_row
@pytest.mark.parametrize("goals", CRITERIA)
def test_goals(row, goals):
    if row.name not in QUICK:
        # Without numba none can be made; the criterion is looked at before anything that is set when it is made.
        attack = object.__new__(getattr(fb.attacks, row.attack))
        attack.tensorboard = False
        assert row.goals == CLASSES
        if goals == ANY:
            with pytest.raises(ValueError, match="unsupported criterion"):
                run(row, criterion=CRITERIA[goals], attack=attack)
        return
    if set(goals) <= set(row.goals):
        started = True
        try:
            run(row, criterion=CRITERIA[goals])
        except (ValueError, AssertionError) as error:
            started = "criterion" not in str(error)
        assert started
        return
    with pytest.raises(ValueError, match="unsupported criterion"):
        run(row, criterion=CRITERIA[goals])


def states():
    """Of both generators."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2]


def draws(row, **parameters):
    before = states()
    criterion = CRITERIA[TARGETED] if row.goals == TARGETED else None
    run(row, criterion=criterion, attack=built(row, **parameters))
    return states() != before


@each_quick
def test_draws(row):
    if row.name == "binarization-refinement":
        assert not draws(row), "only its starting points are random"
    elif row.draws == "random_start":
        assert [draws(row, random_start=value) for value in (False, True)] == [False, True]
    elif row.draws == "init_attack":
        start = fb.attacks.LinearSearchBlendedUniformNoiseAttack(steps=5)
        assert [draws(row, init_attack=value) for value in (None, start)] == [False, True]
    elif row.draws == "no grid_search":
        assert [draws(row, grid_search=value) for value in (True, False)] == [False, True]
    else:
        assert draws(row) == (row.draws == "always")


@pytest.mark.parametrize(
    "row", [ROWS[name] for name in QUICK if ROWS[name].draws != "always"], ids=lambda row: row.name
)
def test_images_mix_only_where_it_says_so(row):
    if row.mixes:
        assert row.name in ("sparse-l1-descent", "l2-carlini-wagner", "ead"), "shown below"
        return
    settings = {"random_start": False} if row.draws == "random_start" else {}
    together, alone = run(row, attack=built(row, **settings)), run(row, X[:1], attack=built(row, **settings))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_sparse_l1_descent_pushes_images_outwards():
    attack = built(ROWS["sparse-l1-descent"])
    x0 = torch.full((2, 4), 0.5)
    x = x0 + torch.tensor([[0.01, 0.02, 0, 0], [0.4, 0.4, 0.4, 0.4]])
    together = attack.project(ep.astensor(x), ep.astensor(x0), 1.0).raw
    assert (together - x0).abs().sum(1)[0] > 1
    assert torch.equal(attack.project(ep.astensor(x[:1]), ep.astensor(x0[:1]), 1.0).raw, x[:1])


@pytest.mark.parametrize(("name", "const"), [("l2-carlini-wagner", 0.01), ("ead", 10.0)])
def test_abort_early_watches_the_whole_batch(name, const):
    attack = built(ROWS[name], steps=30, binary_search_steps=1, initial_const=const, **STEPSIZE.get(name, {}))
    together = attack.run(MODEL, X, Misclassification(FIRST))
    alone = attack.run(MODEL, X[2:], Misclassification(FIRST[2:]))
    assert (together[2:] - alone).abs().max() > 1e-3


STEPSIZE = {"l2-carlini-wagner": {"stepsize": 0.01}}


@each_row
def test_needs(row):
    attack = getattr(fb.attacks, row.attack)
    constructor = inspect.signature(attack).parameters
    required = {name for name, parameter in constructor.items() if parameter.default is parameter.empty}
    assert required == ({"steps"} if "steps" in row.needs else set())
    assert required <= set(row.defaults)
    assert ("numba" in row.needs) == (attack.__module__ == "foolbox.attacks.brendel_bethge")
    assert ("feed" in row.needs) == hasattr(attack, "feed")
    assert ("targets" in row.needs) == (row.goals == TARGETED)
    takes_start = "starting_points" in inspect.signature(attack.run).parameters
    assert takes_start == ("starting points" in row.needs or row.draws == "init_attack")
    assert bool(row.start) == ("starting points" in row.needs)
    if row.start:
        assert set(row.start_parameters) <= set(
            inspect.signature(getattr(fb.attacks, ROWS[row.start].attack)).parameters
        )


@each_quick
def test_needs_four_dimensions(row):
    flat = X.flatten(1)
    model = fb.PyTorchModel(torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), NET).eval(), bounds=(0, 1))
    attack, options = built(row), {"epsilon": 1.0} if row.kind == "budget" else {}
    criterion = CRITERIA[TARGETED] if row.goals == TARGETED else CRITERIA[UNTARGETED]
    if row.name == "binarization-refinement":
        options["starting_points"] = flat * 0.99
    if row.name == "dataset":
        attack.feed(model, flat)
    call = attack if row.kind == "plain" else attack.run  # its run does not check
    if "4-D input" in row.needs:
        with pytest.raises(NotImplementedError, match="two spatial dimensions"):
            call(model, flat, criterion, **options)
    else:
        assert call(model, flat, criterion, **options).shape == flat.shape


@pytest.mark.parametrize("name", ["boundary", "hop-skip-jump", "pointwise", *(f"{n}-brendel-bethge" for n in NORMS)])
def test_starting_points_are_found_as_foolbox_does(name):
    row = ROWS[name]
    source = inspect.getsource(getattr(fb.attacks, row.attack).run)
    settings = ", ".join(f"{key}={value}" for key, value in row.start_parameters.items())
    assert f"init_attack = {ROWS[row.start].attack}({settings})" in source


def test_an_attack_that_needs_numba_says_so():
    if HAS_NUMBA:
        pytest.skip("numba is installed")
    with pytest.raises(ModuleNotFoundError, match="numba"):
        fb.attacks.L2BrendelBethgeAttack()
