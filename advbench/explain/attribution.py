"""Which pixels speak for a class: saliency, Grad-CAM, integrated gradients and occlusion, all by captum.

Every function takes the classifier, images (N, C, H, W) in [0, 1] and a class for each image (N,), and gives signed
maps: what raises the class's logit is positive. Images are explained one by one, so that neither the memory nor what is
drawn at random depends on the batch.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from advbench.errors import UserError, not_installed
from advbench.explain.layers import Layer, last_maps, tapped
from advbench.models.classifier import Classifier
from advbench.models.twins import BORROW
from attacks.queries.derivatives import has_gradient
from attacks.queries.inputs import check_images

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_BATCH = 8
"""Number of changed images that are classified together."""


def saliency(model: Classifier, x: Tensor, classes: Tensor) -> Tensor:
    """Gradient of the class's logit with respect to the pixels.

    Args:
        model: Classifier to be explained.
        x: Images (N, C, H, W) in [0, 1].
        classes: For each image the class that is asked about (N,).

    Returns:
        (N, C, H, W).

    Raises:
        UserError: captum is not installed, or the model gives no gradient.
        ValueError: The images are not in [0, 1], or a class is none of the model's.

    References:
        Simonyan et al., Deep inside convolutional networks, https://arxiv.org/abs/1312.6034, 2013.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> model = Classifier(net, num_classes=2, mean=[0.0])
        >>> maps = saliency(model, torch.rand(1, 1, 2, 2), torch.tensor([1]))
        >>> bool((maps.flatten() == net[1].weight[1]).all())
        True
    """
    _require_captum()
    from captum.attr import Saliency

    method = Saliency(model)
    return _each(model, x, classes, lambda image, label: method.attribute(image, target=label, abs=False))


def smooth_saliency(
    model: Classifier, x: Tensor, classes: Tensor, *, samples: int = 24, noise: float = 0.1, seed: int = 0
) -> Tensor:
    """Mean of the saliency of noisy copies, in which what holds for one copy alone averages out.

    Args:
        model: Classifier to be explained.
        x: Images (N, C, H, W) in [0, 1].
        classes: For each image the class that is asked about (N,).
        samples: Number of noisy copies of each image.
        noise: Standard deviation of the noise, image units.
        seed: Seed of the noise, which is the same for every image.

    Returns:
        (N, C, H, W).

    Raises:
        UserError, ValueError: As :func:`saliency`.

    References:
        Smilkov et al., SmoothGrad, https://arxiv.org/abs/1706.03825, 2017.
    """
    _require_captum()
    from captum.attr import NoiseTunnel, Saliency

    method = NoiseTunnel(Saliency(model))

    def attribute(image: Tensor, label: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            maps: Tensor = method.attribute(
                image, target=label, nt_samples=samples, nt_samples_batch_size=_BATCH, stdevs=noise, abs=False
            )
        return maps

    return _each(model, x, classes, attribute)


def grad_cam(model: Classifier, x: Tensor, classes: Tensor, layer: Layer | None = None) -> Tensor:
    """The maps of a layer, each weighted by how much the class's logit rises with it; what is negative is left out.

    Args:
        model: Classifier to be explained.
        x: Images (N, C, H, W) in [0, 1].
        classes: For each image the class that is asked about (N,).
        layer: Layer that gives maps; None: the last of the convolutions.

    Returns:
        (N, 1, H, W), scaled up to the images.

    Raises:
        UserError: As :func:`saliency`, or the network has no convolution.
        ValueError: As :func:`saliency`.

    References:
        Selvaraju et al., Grad-CAM, https://arxiv.org/abs/1610.02391, 2016.
    """
    _require_captum()
    from captum.attr import LayerGradCam

    with tapped(model, layer or last_maps(model)) as tap:
        method = LayerGradCam(model, tap)
        maps = _each(
            model, x, classes, lambda image, label: method.attribute(image, target=label, relu_attributions=True)
        )
    return interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)


def integrated_gradients(model: Classifier, x: Tensor, classes: Tensor, *, steps: int = 48) -> Tensor:
    """Gradients on the straight line from black to the image, added up: their sum is the rise of the logit.

    Args:
        model: Classifier to be explained.
        x: Images (N, C, H, W) in [0, 1].
        classes: For each image the class that is asked about (N,).
        steps: Number of points on the line.

    Returns:
        (N, C, H, W).

    Raises:
        UserError, ValueError: As :func:`saliency`.

    References:
        Sundararajan et al., Axiomatic attribution for deep networks, https://arxiv.org/abs/1703.01365, 2017.
    """
    _require_captum()
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(model)

    def attribute(image: Tensor, label: int) -> Tensor:
        maps: Tensor = method.attribute(image, target=label, n_steps=steps, internal_batch_size=_BATCH)
        return maps.to(image.dtype)

    return _each(model, x, classes, attribute)


def occlusion(model: Classifier, x: Tensor, classes: Tensor, *, parts: int = 14) -> Tensor:
    """How far the log-probability of the class falls when a grey square lies over the place; needs no gradient.

    The logits themselves all fall and rise together where a large part of the image is hidden.

    Args:
        model: The classifier, or any function from images to logits.
        x: Images (N, C, H, W) in [0, 1].
        classes: For each image the class that is asked about (N,).
        parts: Steps of the square along a side; the square is three steps wide.

    Returns:
        (N, C, H, W), the same in all channels.

    Raises:
        UserError: captum is not installed.
        ValueError: As :func:`saliency`.

    References:
        Zeiler and Fergus, Visualizing and understanding convolutional networks, https://arxiv.org/abs/1311.2901, 2013.
    """
    _require_captum()
    from captum.attr import Occlusion

    labels = _labels(model, x, classes)
    method, (channels, height, width) = Occlusion(lambda images: model(images).log_softmax(1)), x.shape[1:]
    step = (max(1, height // parts), max(1, width // parts))
    window = (channels, min(height, 3 * step[0]), min(width, 3 * step[1]))
    maps = []
    with torch.no_grad():
        for image, label in zip(torch.split(x, 1), labels, strict=True):
            maps.append(
                method.attribute(
                    image,
                    target=label,
                    sliding_window_shapes=window,
                    strides=(channels, *step),
                    baselines=0.5,
                    perturbations_per_eval=_BATCH,
                )
            )
    return torch.cat(maps)


def require_gradient(model: Classifier, x: Tensor) -> None:
    """Make sure that a model's logits can be differentiated with respect to the image.

    Raises:
        UserError: They cannot.
    """
    if not has_gradient(model, x[:1]):
        raise UserError(
            f"{model.name} gives no gradient, and this needs one",
            hint=f"occlusion, path and predictions need none; or {BORROW}",
        )


def _each(model: nn.Module, x: Tensor, classes: Tensor, attribute: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Explain images one by one."""
    labels = _labels(model, x, classes)
    require_gradient(model, x)  # type: ignore[arg-type]
    # captum warns about images that do not ask for a gradient yet.
    images = [image.detach().clone().requires_grad_() for image in torch.split(x, 1)]
    maps = [attribute(image, label) for image, label in zip(images, labels, strict=True)]
    return torch.cat(maps).detach()


def _labels(model: object, x: Tensor, classes: object) -> list[int]:
    """The class that is asked about each image, once both are known to be meant so.

    Raises:
        ValueError: The images are no batch of images in [0, 1], or the classes are none of the model's, one for each.
    """
    check_images(x)
    if x.ndim != 4:
        raise ValueError(f"expected images of shape (N, C, H, W), got {tuple(x.shape)}")
    if not isinstance(classes, Tensor):
        raise ValueError(f"expected classes as a tensor of shape ({len(x)},), got {type(classes).__name__}")
    if classes.dtype not in _WHOLE or classes.shape != x.shape[:1]:
        got = f"{classes.dtype} with shape {tuple(classes.shape)}"
        raise ValueError(f"expected classes as whole numbers of shape ({len(x)},), got {got}")
    found: list[int] = classes.tolist()
    count = getattr(model, "num_classes", None)
    if min(found) < 0 or (count is not None and max(found) >= count):
        most = "" if count is None else f" to {count - 1}"
        raise ValueError(f"expected classes from 0{most}, got {min(found)} to {max(found)}")
    return found


def _require_captum() -> None:
    if importlib.util.find_spec("captum") is None:
        raise not_installed("this", "captum", "explain")
