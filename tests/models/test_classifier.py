import pickle
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import ResizeAndCrop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    generator = torch.Generator().manual_seed(width * 10_000 + height)
    pixels = torch.randint(256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return Image.fromarray(pixels.numpy()).convert(mode)


def flat(num_classes: int = 12, **arguments) -> Classifier:
    """Logits that are the normalised pixels of a 3 x 2 x 2 image."""
    return Classifier(nn.Flatten(), num_classes=num_classes, **arguments)


@pytest.mark.parametrize(
    ("mean", "std"), [(MEAN, STD), (0.5, 0.25), (MEAN, 0.2), (0.1, STD), ([0], [1]), (127 / 255, 128 / 255)]
)
def test_normalises_inside(mean, std):
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    wide = [torch.tensor(v, dtype=torch.float64).expand(3).view(3, 1, 1) for v in (mean, std)]
    expected = ((x.double() - wide[0]) / wide[1]).flatten(1)
    torch.testing.assert_close(flat(mean=mean, std=std)(x).double(), expected, rtol=1e-6, atol=1e-6)


def test_gradient_reaches_the_image_and_nothing_else():
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), num_classes=3, mean=MEAN, std=STD)
    x = torch.full((2, 3, 2, 2), 0.5, requires_grad=True)
    model(x).sum().backward()
    expected = model.module[1].weight.sum(0).view(3, 2, 2) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(x.grad, expected.expand(2, -1, -1, -1))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_is_in_eval_mode():
    model = Classifier(nn.Sequential(nn.Dropout(0.5), nn.Flatten()), num_classes=12)
    x = torch.rand(1, 3, 2, 2)
    assert not any(module.training for module in model.modules())
    assert torch.equal(model(x), model(x))


def test_state_dict_holds_the_weights_alone():
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), num_classes=3, mean=MEAN, std=STD)
    assert list(model.state_dict()) == ["module.1.weight", "module.1.bias"]
    moved = model.double()
    assert moved(torch.rand(1, 3, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_survives_a_journey_to_another_process():
    model = flat(mean=MEAN, std=STD, input_size=2, classes=[f"c{i}" for i in range(12)])
    other = pickle.loads(pickle.dumps(model))
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(other(x), model(x))
    assert (other.classes, other.input_size, other.preprocess) == (model.classes, 2, model.preprocess)


def test_keeps_what_it_was_told():
    model = flat(name="flat", weights_sha256="ab" * 32, input_size=2)
    assert (model.name, model.weights_sha256, model.input_size) == ("flat", "ab" * 32, 2)
    assert "name='flat', num_classes=12, input_size=2" in repr(model)
    assert model.classes == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"num_classes": 0}, "expected num_classes >= 2, got 0"),
        ({"num_classes": 1}, "got 1: turn one logit z for two classes into two with "),
        ({"mean": [0.1, 0.2], "std": [1, 1, 1]}, "as many values in mean as in std, got 2 and 3"),
        ({"std": 0}, "expected std > 0"),
        ({"std": [1, -1, 1]}, "expected std > 0"),
        ({"mean": float("nan")}, "expected mean to be one finite number or one for each channel, got nan"),
        ({"mean": []}, "expected mean to be one finite number"),
        ({"classes": ["a", "b"]}, "expected 12 class names, got 2"),
        ({"input_size": 0}, r"expected input_size >= 1, or \(height, width\), got 0"),
        ({"input_size": (3, 8, 8)}, r"expected input_size >= 1, or \(height, width\), got \(3, 8, 8\)"),
    ],
)
def test_arguments_are_checked(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        flat(**arguments)


def test_the_network_must_be_callable():
    with pytest.raises(ValueError, match=r"expected module to be a torch.nn.Module or a callable, got str"):
        Classifier("net", num_classes=2)


def test_any_callable_will_do():
    model = Classifier(lambda x: x.flatten(1)[:, :2], num_classes=2, mean=0.5)
    x = torch.rand(3, 1, 2, 2, requires_grad=True)
    torch.testing.assert_close(model(x), x.flatten(1)[:, :2] - 0.5)
    assert model(x).requires_grad


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 1, 2, 2), (1, 4, 2, 2), (12,)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 3, H, W\), got \("):
        flat(mean=MEAN, std=STD)(torch.zeros(shape))


class Words(nn.Module):
    def forward(self, x):
        return "cat"


@pytest.mark.parametrize(
    ("network", "got"), [(nn.Identity(), r"\(2, 3, 2, 2\)"), (nn.Flatten(0), r"\(24,\)"), (Words(), "str")]
)
def test_a_network_that_gives_no_logits_is_refused(network, got):
    model = Classifier(network, num_classes=12)
    with pytest.raises(ValueError, match=rf"expected classifier to give logits of shape \(2, 12\), got {got}"):
        model(torch.zeros(2, 3, 2, 2))


ANSWERS = {
    "tuple": lambda z: (z, z[:, :1]),
    "dict": lambda z: {"logits": z},
    "object": lambda z: SimpleNamespace(logits=z),
    "squeezed": lambda z: z.squeeze(),
    "float16": lambda z: z.half(),
    "bfloat16": lambda z: z.bfloat16(),
    "float64": lambda z: z.double(),
}


@pytest.mark.parametrize("form", ANSWERS)
@pytest.mark.parametrize("count", [1, 3])
def test_logits_are_found_in_what_a_network_answers(form, count):
    x = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits = Classifier(lambda x: ANSWERS[form](x.flatten(1)), num_classes=12)(x)
    assert (logits.dtype, logits.requires_grad) == (torch.float32, True)
    torch.testing.assert_close(logits, x.flatten(1), rtol=1e-2, atol=1e-2)


def test_a_network_may_work_on_its_images_in_place():
    x = torch.rand(2, 3, 2, 2)
    before = x.clone()
    assert torch.equal(Classifier(lambda x: x.neg_().flatten(1), num_classes=12)(x), -x.flatten(1))
    assert torch.equal(x, before)


def test_an_empty_batch_is_fine():
    assert flat()(torch.zeros(0, 3, 2, 2)).shape == (0, 12)


@pytest.fixture(scope="module")
def imagenet() -> Classifier:
    return Classifier(nn.Flatten(), num_classes=1000, classes=imagenet_classes(), name="net")


@pytest.mark.parametrize(
    ("text", "index"),
    [("tiger", 292), ("TIGER", 292), ("292", 292), (292, 292), ("0", 0), ("999", 999), ("great white shark", 2)],
)
def test_class_index(imagenet, text, index):
    assert imagenet.class_index(text) == index


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tigre", "did you mean tiger (292)"),
        ("great-white-shark", "did you mean great white shark (2)"),
        ("shark", "did you mean tiger shark (3), great white shark (2)"),
        ("1000", "an index from 0 to 999 works as well"),
        ("-1", "an index from 0 to 999"),
        (-1, "an index from 0 to 999"),
        ("²", "an index from 0 to 999"),
        ("9" * 5000, "an index from 0 to 999"),
        ("", "an index from 0 to 999"),
    ],
)
def test_unknown_classes_are_answered_with_near_misses(imagenet, text, hint):
    with pytest.raises(UserError, match=r"^net has no class") as caught:
        imagenet.class_index(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["cardigan", "Cardigan"])
def test_an_ambiguous_name_is_asked_for_by_index(imagenet, text):
    with pytest.raises(UserError, match=f"class '{text}' is ambiguous: net has 2 classes of that name") as caught:
        imagenet.class_index(text)
    assert caught.value.hint == "give the index: 264 (Cardigan), 474 (cardigan)"


def test_a_name_wins_over_an_index():
    model = Classifier(nn.Flatten(), num_classes=3, classes=["7", "2", "0"])
    assert [model.class_index(text) for text in ("7", "2", "0", "1")] == [0, 1, 2, 1]


def test_imagenet_names_are_those_of_torchvision():
    import torchvision

    names = torchvision.models.get_model_weights("resnet18").DEFAULT.meta["categories"]
    assert imagenet_classes() == tuple(names)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "CMYK", "LA", "I;16"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (8, 8), (5, 50)])
def test_preprocess_gives_eight_bit_values(mode, size):
    image = Image.new("I;16", size, 300) if mode == "I;16" else noise(*size, mode)
    x = flat(mean=MEAN, std=STD, input_size=8).preprocess(image)
    assert (x.shape, x.dtype) == ((3, 8, 8), torch.float32)
    assert 0 <= x.min() <= x.max() <= 1
    assert torch.equal((x * 255).round() / 255, x)


def test_preprocess_survives_a_png(tmp_path):
    x = flat(input_size=16).preprocess(noise(50, 33))
    pixels = (x * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as stored:
        assert torch.equal(flat(input_size=16).preprocess(stored), x)


def test_preprocess_leaves_the_picture_alone():
    image = noise(20, 20)
    before = image.tobytes()
    flat(input_size=20).preprocess(image)[:] = 0
    assert image.tobytes() == before


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [({}, (3, 30, 40)), ({"mean": [0.1]}, (1, 30, 40)), ({"mean": (0.1,), "input_size": 9}, (1, 9, 9))],
)
def test_default_preprocess_follows_the_arguments(arguments, shape):
    assert flat(**arguments).preprocess(noise(40, 30)).shape == shape


def test_own_preprocess_is_used():
    model = flat(preprocess=lambda image: torch.full((3, 2, 2), image.width / 255))
    assert model.preprocess(noise(51, 4)).unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("picture", [(400, 279), (279, 400), (33, 31), (500, 500), (64, 65), (1024, 97)])
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (224, 232), (299, 342), (64, 64), (33, 64)])
def test_pixels_are_those_of_torchvision(resample, picture, size, resize):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    mode = InterpolationMode.BILINEAR if resample == Image.Resampling.BILINEAR else InterpolationMode.BICUBIC
    theirs = ImageClassification(
        crop_size=size, resize_size=resize, interpolation=mode, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    ours = ResizeAndCrop(size=size, resize=resize, interpolation=resample)
    image = noise(*picture)
    assert torch.equal(ours(image), theirs(image))


def test_a_long_thin_picture_is_refused_before_it_fills_the_memory():
    with pytest.raises(UserError, match="too long and thin: 1 x 60000 pixels would become 224 x 13440000"):
        ResizeAndCrop(size=224)(Image.new("L", (1, 60_000)))


@pytest.mark.parametrize("picture", [(97, 61), (61, 97), (300, 300), (224, 100)])
def test_a_picture_covers_an_input_that_is_no_square(picture):
    image = noise(*picture)
    x = ResizeAndCrop(size=(50, 120))(image)
    assert x.shape == (3, 50, 120)
    ratio = min(image.height / 50, image.width / 120)
    scaled = image.resize((round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BILINEAR)
    assert 120 in scaled.size or 50 in scaled.size
    left, top = round((scaled.width - 120) / 2), round((scaled.height - 50) / 2)
    assert torch.equal(x, ResizeAndCrop()(scaled)[:, top : top + 50, left : left + 120])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"size": 0}, r"expected size >= 1, or \(height, width\), got 0"),
        ({"size": 224, "resize": 223}, "expected resize >= size, got resize 223 with size 224"),
        ({"size": (224, 100), "resize": 200}, "expected resize >= size, got resize 200"),
        ({"resize": 10}, "expected resize >= size, got resize 10 with size None"),
    ],
)
def test_preprocess_arguments_are_checked(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        ResizeAndCrop(**arguments)
