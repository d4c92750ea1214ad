"""What is given to the Python interface in place of what it asks for, told in one sentence."""

import pytest
import torch
from accidents import SUITE

import advbench
from advbench.errors import UserError

NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
SENT = SUITE | {"models": ["mine"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": {"mine": NET}}, r"models\['mine'\] is of the type Sequential, not Classifier\nwrap the network"),
        ({"models": {"mine": lambda x: x}}, r"models\['mine'\] is of the type function, not Classifier"),
        ({"models": [NET]}, "models maps labels to objects, got list"),
        ({"datasets": {"d": torch.rand(2, 3, 4, 4)}}, r"datasets\['d'\] is of the type Tensor, not Dataset"),
        ({"plugins": "mine"}, r"plugins is a list of names, got the text 'mine'\nwrite plugins=\['mine'\]"),
    ],
)
def test_objects_of_another_kind_are_refused_before_anything_is_done(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        advbench.run(SENT, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suite", [None, 3, ["smoke"]])
def test_what_is_no_suite_is_told(suite):
    with pytest.raises(UserError, match="a suite is a name, a path or a mapping, got"):
        advbench.run(suite)


@pytest.mark.parametrize("name", [None, NET, 3])
def test_what_is_no_name_is_told(name):
    with pytest.raises(UserError, match=r"a model is named by a text, got .*\n.*advbench\.Classifier"):
        advbench.load_model(name)
    with pytest.raises(UserError, match="a data set is named by a text, got"):
        advbench.load_dataset(name)
