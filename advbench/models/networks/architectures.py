"""The architectures of the zoo: small networks (and one forest) from normalised images to logits, with fresh weights.

Each is built by a function without arguments. Max-pooling comes before ReLU, where the original text has it after: the
two commute, and pooling first is cheaper.
"""

import torch
from torch import Tensor, nn

from advbench.models.networks.forest import Forest


class Scramble(nn.Module):
    """A fixed permutation of the pixels of each channel, the same for every image.

    Args:
        pixels: Number of pixels, height times width.
        seed: Seed of the permutation, which is stored with the weights.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> sorted(Scramble(4)(x).flatten().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    order: Tensor

    def __init__(self, pixels: int, seed: int = 0) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(pixels, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor) -> Tensor:
        """Permute the pixels of images (N, C, H, W); the shape stays the same."""
        return x.flatten(2)[..., self.order].view(x.shape)


class TwoLogits(nn.Module):
    """Turn the single logit z of a binary classifier into the two logits (0, z), so that every goal applies to it.

    The sigmoid of z is the softmax probability of the second class.

    Example:
        >>> TwoLogits()(torch.tensor([[3.0]]))
        tensor([[0., 3.]])
    """

    def forward(self, z: Tensor) -> Tensor:
        """(N, 1) -> (N, 2)."""
        return torch.cat([torch.zeros_like(z), z], dim=1)


def mnist_convnet() -> nn.Sequential:
    """Two unpadded 3x3 convolutions of 32 and 64 filters and a dense layer of 128, for 28x28 grey images.

    Example:
        >>> sum(p.numel() for p in mnist_convnet().parameters())
        1199882
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(128, 10),
    )


def lenet() -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling, for 28x28 grey images: 6, 16 and 120 filters, a dense layer of 84.

    References:
        LeCun et al., Gradient-based learning applied to document recognition, 1998.

    Example:
        >>> sum(p.numel() for p in lenet().parameters())
        61706
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(16, 120, 5), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def lenet_scrambled() -> nn.Sequential:
    """:func:`lenet` behind :class:`Scramble`: the same pixels, but no neighbours left."""
    return nn.Sequential(Scramble(28 * 28), *lenet())


def _mlp(side: int) -> nn.Sequential:
    """Two dense layers of 512 and 100 for grey images of ``side`` x ``side`` pixels."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(side * side, 512), nn.ReLU()),
        *(nn.Linear(512, 100), nn.ReLU(), nn.Linear(100, 10)),
    )


def eight_digits() -> nn.Sequential:
    """Four 3x3 convolutions of 16 to 96 filters, global max-pooling, and a layer of 8 labels.

    It accepts grey images of any size from 8 pixels: the position of a digit in the image does not matter.

    Example:
        >>> sum(p.numel() for p in eight_digits().parameters())
        79464
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        nn.Linear(96, 8),
    )


def mlp_mnist() -> nn.Sequential:
    """Two dense layers of 512 and 100, for 28x28 grey images."""
    return _mlp(28)


def mlp_scrambled() -> nn.Sequential:
    """:func:`mlp_mnist` behind :class:`Scramble`: to a dense layer, the order of its inputs is irrelevant."""
    return nn.Sequential(Scramble(28 * 28), *_mlp(28))


def gray_mlp() -> nn.Sequential:
    """Two dense layers of 512 and 100, for grey CIFAR-10.

    Example:
        >>> sum(p.numel() for p in gray_mlp().parameters())
        577110
    """
    return _mlp(32)


def gray_cnn() -> nn.Sequential:
    """Four unpadded 3x3 convolutions, two poolings and a dense layer of 472, for grey CIFAR-10.

    The original text gives the number of parameters but not the widths; these add up to it.

    Example:
        >>> sum(p.numel() for p in gray_cnn().parameters())
        577014
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 26, 3), nn.ReLU()),
        *(nn.Conv2d(26, 40, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(40, 90, 3), nn.ReLU()),
        *(nn.Conv2d(90, 42, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(42 * 5 * 5, 472), nn.ReLU(), nn.Linear(472, 10)),
    )


def gray_forest() -> Forest:
    """300 trees of at most 512 leaves, for grey CIFAR-10; as many leaves as fit in a small file."""
    return Forest(trees=300, leaves=512, classes=10)


def cifar10_cnn() -> nn.Sequential:
    """Two padded 3x3 convolutions of 50 filters, one pooling and a dense layer of 512.

    Example:
        >>> sum(p.numel() for p in cifar10_cnn().parameters())
        6583192
    """
    return nn.Sequential(
        *(nn.Conv2d(3, 50, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(50, 50, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(50 * 16 * 16, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


def _vgg(blocks: tuple[tuple[int, ...], ...], dropout: float = 0.0) -> nn.Sequential:
    """Blocks of padded 3x3 convolutions, each followed by a pooling, and two dense layers of 4,096.

    Without batch norm, torch's default initialisation makes the signal fade from layer to layer, and hundreds of steps
    pass before anything is learnt. He initialisation preserves it.

    References:
        He et al., Delving deep into rectifiers <https://arxiv.org/abs/1502.01852>, 2015.
    """
    layers: list[nn.Module] = []
    channels, side = 3, 32
    for widths in blocks:
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
        side //= 2
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 4096), nn.ReLU(), nn.Dropout(dropout)]
    layers += [nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, 10)]
    for layer in layers[:-1]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))
    return nn.Sequential(*layers)


def cifar10_vgg1() -> nn.Sequential:
    """One block, two convolutions of 64 filters."""
    return _vgg(((64, 64),))


def cifar10_vgg2() -> nn.Sequential:
    """Two blocks: 64 and 128 filters."""
    return _vgg(((64, 64), (128, 128)))


def cifar10_vgg3() -> nn.Sequential:
    """Three blocks: 64, 128 and 256 filters."""
    return _vgg(((64, 64), (128, 128), (256, 256, 256)))


def cifar10_vgg4() -> nn.Sequential:
    """:func:`cifar10_vgg3` with dropout of 0.5 after each dense layer of 4,096.

    Example:
        >>> sum(p.numel() for p in cifar10_vgg4().parameters())
        35339082
    """
    return _vgg(((64, 64), (128, 128), (256, 256, 256)), dropout=0.5)


def smile_cnn() -> nn.Sequential:
    """Two unpadded 5x5 convolutions of 16 and 32 filters with batch norm, a dense layer of 128 and one output.

    For grey faces of 64x64 pixels; class 1 is a smile.

    Example:
        >>> smile_cnn()(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 2])
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Conv2d(16, 32, 5), nn.BatchNorm2d(32), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Flatten(), nn.Linear(32 * 13 * 13, 128), nn.ReLU()),
        *(nn.Linear(128, 1), TwoLogits()),
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, with a skip connection."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        same = channels == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H / stride, W / stride)."""
        active = self.first(x)
        around = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        out: Tensor = self.branch(active) + around
        return out


def cifar10_resnet() -> nn.Sequential:
    """A pre-activation residual network of 12 layers and 64, 128 and 256 filters, most of them at 16x16 and 8x8 pixels.

    Full resolution ends after a stem of 32 filters: with the usual 64 filters there, half of all arithmetic would be
    spent in a fifth of the layers.

    References:
        He et al., Identity mappings in deep residual networks <https://arxiv.org/abs/1603.05027>, 2016.

    Example:
        >>> sum(p.numel() for p in cifar10_resnet().parameters())
        1578922
    """
    widths = ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2))
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1, bias=False)]
    channels = 32
    for width, stride in widths:
        layers.append(_Residual(channels, width, stride))
        channels = width
    head = (nn.BatchNorm2d(256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))
    return nn.Sequential(*layers, *head)
