"""What people hand to the plug-in: what can be understood is, and the rest is told in one sentence."""

import copy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import advbench
from advbench.errors import UserError
from advbench.testing import Bench
from attacks import PGD

X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BYTES = (X * 255).round().to(torch.uint8)


def network():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)).eval()


NET = network()
Y = NET(X).argmax(1)
HOT = nn.functional.one_hot(Y, 5)


def attacked(data, model=NET, **options):
    given = {"attack": "pgd", "eps": "4/255", "params": {"steps": 2}, "batch_size": 4}
    return Bench("test_it", None)(model, data, **given | options)


class Indexed:
    """A data set of torch's as people write them: it does not say where it ends."""

    def __init__(self, labels=Y):
        self.labels = labels

    def __len__(self):
        return len(X)

    def __getitem__(self, place):
        return X[place], self.labels[place]


def halves():
    yield X[:3], Y[:3]
    yield X[3:], Y[3:]


def of(model):
    """The model with another type of weights, or in another shape."""
    return copy.deepcopy(NET).to(model)


UNDERSTOOD = {
    "tuple": (X, Y),
    "list": [X, Y],
    "mapping": {"image": X, "label": Y},
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "data set": TensorDataset(X, Y),
    "indexed": Indexed(),
    "one-hot data set": Indexed(HOT),
    "generator": halves(),
    "batches": list(halves()),
    "samples": [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "mappings": [{"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)],
    "lists": (list(X), Y.tolist()),
    "numbers": (X.tolist(), Y.tolist()),
    "arrays": (X.numpy(), Y.numpy()),
    "big-endian": (X.numpy().astype(">f4"), Y.numpy().astype(">i8")),
    "channels last": (X.permute(0, 2, 3, 1).numpy(), Y),
    "list of channels last": ([x.permute(1, 2, 0).numpy() for x in X], Y),
    "double": (X.double(), Y),
    "array of doubles": (X.double().numpy(), Y),
    "in a graph": (X.clone().requires_grad_(), Y),
    "one-hot": (X, HOT),
    "one-hot floats": (X, HOT.float()),
    "one-hot truths": (X, HOT.bool().numpy()),
    "column": (X, Y.unsqueeze(1)),
    "whole floats": (X, Y.float()),
    "int32": (X, Y.int()),
    "tensors": (X, list(Y)),
    "series": (X, pd.Series(Y.numpy())),
}


@pytest.mark.parametrize("data", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_whatever_holds_the_images_and_labels_gives_the_same(data):
    frame, plain = attacked(data).frame, attacked((X, Y)).frame
    assert frame["label"].tolist() == [*Y.tolist(), *Y.tolist()]
    for column in ("sample_id", "clean_class", "adv_class", "met", "linf"):
        assert frame[column].tolist() == plain[column].tolist()


@pytest.mark.parametrize(
    "data",
    [
        (BYTES, Y),
        (BYTES.numpy(), Y),
        (BYTES.permute(0, 2, 3, 1), Y),
        (BYTES.permute(0, 2, 3, 1).numpy(), Y),
        [(each, Y[i]) for i, each in enumerate(BYTES.permute(0, 2, 3, 1).numpy())],
    ],
    ids=["tensor", "array", "tensor, channels last", "array, channels last", "samples, channels last"],
)
def test_8_bit_images_are_divided_by_255(data):
    wanted = attacked((BYTES.float() / 255, Y)).frame
    assert attacked(data).frame["sample_id"].tolist() == wanted["sample_id"].tolist()


@pytest.mark.parametrize("data", [X, [X], list(X), (X, None), DataLoader(TensorDataset(X))], ids=type)
def test_images_without_labels(data):
    result = attacked(data)
    assert result.frame["label"].isna().all()
    assert (result.cell.relative, result.cell.clean.k, result.cell.clean.n) == (True, 6, 6)


@pytest.mark.parametrize("data", [(X[0], Y[0]), (X[0], int(Y[0])), (X[0], [int(Y[0])]), (X[:1], Y[0])])
def test_a_single_image(data):
    assert attacked(data).frame["sample_id"].tolist() == attacked((X[:1], Y[:1])).frame["sample_id"].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_of_half_precision_are_attacked_in_full_and_given_to_the_model_as_they_were(dtype):
    asked = set()
    model = of(dtype)

    def spying(x):
        asked.add(x.dtype)
        return model(x)

    frame = attacked((X.to(dtype), Y), spying).frame
    assert asked == {dtype}
    assert frame.loc[frame["attack"] == "pgd", "linf"].dropna().le(4 / 255 + 1e-6).all()
    assert attacked((X.to(dtype), Y), NET).frame["label"].tolist() == [*Y.tolist(), *Y.tolist()]


def test_a_model_of_another_type_takes_arrays_and_8_bit_images_in_its_own():
    for dtype in (torch.float64, torch.float16):
        for images in (X.numpy(), BYTES):
            assert attacked((images, Y), of(dtype)).cell.robust.n == 6
    assert attacked((X.double(), Y), of(torch.float64)).cell.clean.k == 6


@pytest.mark.parametrize(
    "model",
    [
        lambda x: (NET(x), x),
        lambda x: [NET(x)],
        lambda x: {"logits": NET(x), "features": x},
        lambda x: SimpleNamespace(logits=NET(x)),
        lambda x: NET(x).squeeze(),
        lambda x: NET(x).half(),
        lambda x: NET(x.sub_(0.0)),
        advbench.Classifier(NET, num_classes=5, name="net"),
    ],
    ids=["tuple", "list", "mapping", "object", "squeezed", "half", "in place", "classifier"],
)
def test_answers_that_hold_logits(model):
    for data in ((X, Y), (X[:1], Y[:1]), (X[:5], Y[:5])):  # the last batch of five is one image
        assert attacked(data, model).cell.clean.k == len(data[0])


@pytest.mark.parametrize(
    "eps", [Fraction(4, 256), Decimal("0.015625"), np.float32(1 / 64), np.array(1 / 64), torch.tensor(1 / 64), 0.015625]
)
def test_eps_is_a_number_of_any_kind(eps):
    assert attacked((X, Y), eps=eps).frame["eps"].eq(1 / 64).all()


def test_other_options_may_be_of_numpy():
    attack = PGD(steps=3, relative_step=0.25)
    options = {"params": {"steps": np.int64(3), "relative_step": Fraction(1, 4)}, "batch_size": np.int64(2)}
    params = attacked((X, Y), **options, seed=np.int64(1)).frame["params"]
    assert params.iloc[0] == advbench.evaluation.recording.parameters(attack)


PICTURE = Image.new("RGB", (8, 8))
REFUSED = {
    "255": ((X * 255, Y), r"expected images in \[0, 1\], got values from .* to 25.*: did you forget / 255\?"),
    "normalised": (((X - 0.5) / 0.25, Y), r"got values from -.*normalised\? leave that to the model: advbench.Classif"),
    "overshoot": ((X * 1.005, Y), r"got values from .*: rounded while they were resized\? images\.clamp\(0, 1\)"),
    "16 bits": (X * 65535, "divide them by the largest value that a pixel can have"),
    "twice": (X / X.max() / 255, "got none above 1/255: divided by 255 twice"),
    "zeros and ones": ((X > 0.5).byte(), "got none above 1/255: .* or values of 0 and 1"),
    "nan": (X * float("nan"), r"expected images in \[0, 1\], got NaN or infinite values"),
    "int64": (BYTES.long(), r"floats in \[0, 1\] or of 8 bits \(uint8\), got torch.int64: images.to\(torch.uint8\) if"),
    "no images": ((X[:0], Y[:0]), r"expected at least one image, got none: shape \(0, 3, 8, 8\)"),
    "empty list": ([], "expected at least one image, got none: the list is empty"),
    "empty loader": (iter(()), "expected at least one image, got none"),
    "path": ("cat.png", r"got the path 'cat\.png': open the picture with PIL, and make a tensor of it"),
    "paths": (([Path("cat.png")], [0]), r"got the path 'cat\.png'"),
    "picture": (PICTURE, r"got a PIL image: make a tensor of it first, such as torchvision.*to_tensor"),
    "pictures": (([PICTURE, PICTURE], [0, 1]), "got a PIL image"),
    "data set of pictures": (iter([(PICTURE, 0)]), "got a PIL image"),
    "nothing": (None, r"expected images, \(images, labels\) or an iterable of such batches, got NoneType"),
    "number": (5, "such batches, got int"),
    "texts": (([["a"]], [0]), r"expected images as a tensor .*, got the path 'a'"),
    "objects": ([object()], r"expected batches \(images, labels\), got object"),
    "sizes": ([X[0], X[0, :, 1:]], r"expected images of one size, got \(3, 8, 8\) and \(3, 7, 8\): resize them"),
    "three things": ((X, Y, Y), r"expected \(images, labels\), got a tuple of 3: leave out the rest"),
    "loader of three": (DataLoader(TensorDataset(X, Y, Y)), "got a list of 3: leave out"),
    "other keys": ({"a": X, "b": Y}, "expected a mapping with images under one of images, image, .*, got a, b"),
    "meta": (X.to("meta"), "got a tensor on the meta device, which has no values"),
    "a row": (X[0, 0, 0], r"expected images as a tensor \(N, C, H, W\) in \[0, 1\], got shape \(8,\)"),
    "labels of some": ([(X, Y), (X, None)], "expected labels for all images, got none in 1 of 2 parts"),
    "fewer labels": ((X, Y[:4]), "expected as many labels as images, got labels for 4 and 6 images"),
    "more labels": ((X[:4], Y), "got labels for 6 and 4 images"),
    "label -1": ((X, Y - 1 - Y.min()), "expected labels from 0 to 4, the classes of Sequential, got -1 for image"),
    "from 1": ((X, [1, 2, 3, 4, 5, 1]), r"got 5 for image 4: are they counted from 1\? labels - 1"),
    "label 77": ((X, [0, 77, 0, 0, 0, 0]), r"got 77 for image 1: are they from the same data set\?"),
    "wide one-hot": ((X, nn.functional.one_hot(Y * 0 + 6, 7)), "expected labels from 0 to 4, .* got 6 for image 0"),
    "soft": (
        (X, NET(X).softmax(1)),
        r"expected labels \(N,\) or one-hot \(N, classes\), got rows of 5 values that are",
    ),
    "halves": ((X, Y + 0.5), r"expected labels as whole numbers, got \d\.5 among them"),
    "nan labels": ((X, Y * float("nan")), "expected labels as whole numbers, got nan"),
    "names": ((X, ["cat"] * 6), "got 'cat': give each class as its index in the model's output, counted from 0"),
    "none": ((X, [None] * 6), "expected labels as whole numbers, got None"),
    "masks": ((X, torch.zeros(6, 8, 8)), r"expected one label for each image, got shape \(6, 8, 8\) for 6 images"),
    "meta labels": ((X, Y.to("meta")), "expected labels as whole numbers, got a tensor on the meta device"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_images_and_labels_that_are_none_are_refused_in_a_sentence(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        attacked(data)
    assert "\n" not in str(caught.value)


def raising(x):
    raise KeyError("backbone")


def one_by_one(x):
    if len(x) > 2:
        raise IndexError("buffer too small")
    return NET(x)


class NoWayBack(torch.autograd.Function):
    """Its backward pass fails."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("not written yet")


IN_TRAINING = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 5))
NO_MODELS = {
    "one output": (lambda x: NET(x)[:, :1], X, r"got \(2, 1\): return two logits, such as torch\.cat\(\[-z, z\], 1\)"),
    "one output, squeezed": (lambda x: NET(x)[:, 0], X, r"got \(2,\): return two logits"),
    "one output, one image": (lambda x: NET(x)[:, 0], X[:1], r"got \(1, 1\): return two logits"),
    "classes": (lambda x: NET(x).argmax(1), X, "got torch.int64: return the values whose largest the class is"),
    "nothing": (lambda x: None, X, "expected logits as a float tensor, got NoneType"),
    "half": (of(torch.float16), X, r"float32 on cpu, got RuntimeError: .*; its parameters are torch\.float16: convert"),
    "double": (of(torch.float64), X, r"; its parameters are torch\.float64: convert the images to that, or the model"),
    "elsewhere": (
        of("meta"),
        X,
        r"expected images on meta, where the model Sequential is, got cpu: images\.to\('meta'",
    ),
    "channels": (
        NET,
        X[:, :1],
        r"the model Sequential to answer for images \(2, 1, 8, 8\) of torch.float32 on cpu, got",
    ),
    "channels last": (NET, X.permute(0, 2, 3, 1), r"do the channels come last\? images\.permute\(0, 3, 1, 2\)"),
    "no channels": (
        NET,
        X[:, 0],
        r"images\.unsqueeze\(1\) for grey images .* image\.unsqueeze\(0\) for a single image",
    ),
    "an error": (raising, X, r"the model function to answer for images \(2, 3, 8, 8\) .* got KeyError: 'backbone'"),
    "a later error": (one_by_one, X, r"for images \(6, 3, 8, 8\) of torch.float32 on cpu, got IndexError: buffer too"),
    "training": (IN_TRAINING, X[:1], r"got ValueError: Expected more than 1 value per channel.*; call model\.eval\(\)"),
    "class": (nn.Flatten, X, r"returns logits, got the class Flatten: create an instance, Flatten\(\.\.\.\)"),
    "name": ("resnet50", X, r"got str: advbench\.load_model\(name\) loads one"),
    "swapped": (X, NET, "got Tensor: the model comes first, then images"),
    "backward": (
        lambda x: NoWayBack.apply(NET(x)),
        X,
        "expected to attack the model function with pgd on .* not written",
    ),
}


@pytest.mark.parametrize(("model", "data", "message"), NO_MODELS.values(), ids=NO_MODELS)
def test_a_model_that_cannot_be_asked_is_told_in_a_sentence(model, data, message):
    with pytest.raises(ValueError, match=message) as caught:
        attacked(data, model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "cause"), [(raising, KeyError), (one_by_one, IndexError), (of("meta"), type(None))])
def test_the_models_own_exception_is_chained(model, cause):
    with pytest.raises(ValueError, match="expected") as caught:
        attacked(X, model)
    assert isinstance(caught.value.__cause__, cause)


def test_a_black_box_of_arrays_is_flagged_and_attacked_without_gradients():
    def model(x):
        return torch.from_numpy(x.numpy().reshape(len(x), -1)[:, :5])

    result = attacked(X, model, attack="square")
    assert [flag.id for flag in result.flags] == ["M6"]
    assert result.cell.robust.n == 6
    with pytest.raises(ValueError, match=r"got RuntimeError: Can't call numpy\(\)"):
        attacked(X, model)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attack": PGD()}, ValueError, r"expected attack to be a name of `advbench attacks`.*, got PGD\("),
        ({"norm": "linff"}, UserError, "attack 'pgd' works in linf, l2, l1, not in linff"),
        ({"norm": 2}, ValueError, 'expected norm to be a name such as "linf", got 2'),
        ({"goal": 3}, ValueError, "expected goal to be a text such as .*, got 3"),
        ({"params": [1]}, ValueError, r"expected params to be a mapping such as .*, got \[1\]"),
        ({"batch_size": 0}, ValueError, "expected batch_size to be a whole number from 1, got 0"),
        ({"batch_size": 2.5}, ValueError, "expected batch_size to be a whole number from 1, got 2.5"),
        ({"seed": "a"}, ValueError, "expected seed to be a whole number, got 'a'"),
        ({"labels": Y}, ValueError, r"got labels: labels go with the images, \(images, labels\)"),
        ({"eps": True}, UserError, "eps 'True' is not a number"),
    ],
)
def test_options_of_the_wrong_kind(options, error, message):
    with pytest.raises(error, match=message):
        attacked((X, Y), **options)
