"""Defences that hide a gradient and defend little, planted around a network: name -> what wraps it.

Each takes a network, images in [0, 1] -> logits, and gives a model. Written as modules, as functions, with numpy and
with PIL, as they are found in the wild.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

Net = Callable[[Tensor], Tensor]


def network() -> nn.Module:
    """A small network for images of 16 x 16 pixels, without any trick."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(8 * 8 * 8, 10)),
        )
    return net.eval()


class Before(nn.Module):
    """A transformation of the images, then the network."""

    def __init__(self, transform: Net, net: Net) -> None:
        super().__init__()
        self.net, self.transform = net, transform

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.transform(x))


class After(nn.Module):
    """The network, then a transformation of its logits."""

    def __init__(self, transform: Net, net: Net) -> None:
        super().__init__()
        self.net, self.transform = net, transform

    def forward(self, x: Tensor) -> Tensor:
        return self.transform(self.net(x))


class Swapped(nn.Module):
    """A copy of the network in whose place of every ReLU another activation stands."""

    def __init__(self, activation: nn.Module, net: nn.Module) -> None:
        super().__init__()
        import copy

        self.net = copy.deepcopy(net)
        for name, part in list(self.net.named_modules()):
            if isinstance(part, nn.ReLU):
                parent, _, leaf = name.rpartition(".")
                setattr(self.net.get_submodule(parent), leaf, nn.Sequential(nn.ReLU(), activation))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Winners(nn.Module):
    """k-winners-take-all: the largest share of each image's activations, the others zero."""

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        least = x.flatten(1).topk(max(int(self.share * x[0].numel()), 1), 1).values[:, -1]
        return x * (x >= least.view(-1, *[1] * (x.ndim - 1))).to(x)


class Sparse(nn.Module):
    """MeanSparse: what is near its mean becomes the mean."""

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        mean = x.detach().mean((0, *range(2, x.ndim)), keepdim=True) * 0 + 0.1
        spread = 0.3
        return torch.where((x - mean).abs() < self.share * spread, mean.expand_as(x), x)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class _Faint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1e-12 * gradient


class Drawn(nn.Module):
    """An ensemble that asks one member at random."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList([Before(nn.Identity(), net), Before(_shifted, net), Before(_darker, net)])

    def forward(self, x: Tensor) -> Tensor:
        return self.members[int(torch.randint(3, ()))](x)


class Detector(nn.Module):
    """Rejects images that a filter changes the answer about: they get the answer about the filtered image."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits, other = self.net(x), self.net(median(x))
        apart = (logits.softmax(1) - other.softmax(1)).abs().sum(1, keepdim=True)
        return torch.where(apart > 1.0, other, logits)


def quantised(x: Tensor) -> Tensor:
    """The images in 32 levels."""
    return (x * 31).round() / 31


def jpeg(x: Tensor) -> Tensor:
    """The images after PIL's JPEG, quality 90."""
    found = []
    for image in x.detach().cpu().numpy():
        pixels = (image * 255).round().clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=90)
        again = np.asarray(Image.open(buffer), np.float32) / 255
        found.append(again[None] if again.ndim == 2 else again.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found)).to(x)


def median(x: Tensor) -> Tensor:
    """Each value's median over 3 x 3 places."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values


def smooth(x: Tensor) -> Tensor:
    """Ten steps down the total variation, rounded to 8 bits, outside of torch."""
    y = x.detach().numpy().copy()
    first = y.copy()
    for _ in range(10):
        down, right = np.zeros_like(y), np.zeros_like(y)
        down[:, :, :-1], right[:, :, :, :-1] = np.sign(np.diff(y, axis=2)), np.sign(np.diff(y, axis=3))
        push = down + right
        push[:, :, 1:] -= down[:, :, :-1]
        push[:, :, :, 1:] -= right[:, :, :, :-1]
        y = y + 0.002 * push - 0.1 * (y - first)
    return torch.from_numpy((y * 255).round().clip(0, 255) / 255).to(x)


def noisy(x: Tensor) -> Tensor:
    """The images with noise of 0.02."""
    return x + 0.02 * torch.randn_like(x)


def shattered(x: Tensor) -> Tensor:
    """The images with ripples that change little and turn the gradient around."""
    return x + 0.004 * torch.sin(2000 * x)


def thermometer(x: Tensor) -> Tensor:
    """The images in ten levels, each of which a channel of zeros and ones tells; then added up again."""
    levels = torch.arange(10).view(1, 10, 1, 1, 1).to(x) / 10
    return ((x.unsqueeze(1) > levels).to(x)).mean(1)


def _shifted(x: Tensor) -> Tensor:
    return x.roll(1, 3)


def _darker(x: Tensor) -> Tensor:
    return 0.95 * x


def labels(logits: Tensor) -> Tensor:
    """One for the first class, zero for the others."""
    return functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def as_function(net: Net) -> Net:
    """A transformation in a plain function."""
    return lambda x: net(torch.floor(x * 16) / 16 + 1 / 32)


def detached(net: Net) -> Net:
    """A network that asks for no gradient."""

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            return net(x)

    return answer


class Dropped(Swapped):
    """Dropout that stays on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(_Dropout(), net)


class _Dropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.1, training=True)


class SignNet(nn.Module):
    """Coarse activations: each in quarters of the largest of its image."""

    def forward(self, x: Tensor) -> Tensor:
        top = x.detach().flatten(1).amax(1).view(-1, *[1] * (x.ndim - 1)).clamp_min(1e-6)
        return torch.sign(x / top - 0.125).clamp_min(0) * x.detach() + 0 * x


class Falsified(nn.Module):
    """Hands on what it is given, and turns its gradient around."""

    def forward(self, x: Tensor) -> Tensor:
        return _Reversed.apply(x)


DETERMINISTIC: dict[str, Callable[[nn.Module], Net]] = {
    "quantised": lambda net: Before(quantised, net),
    "jpeg": lambda net: Before(jpeg, net),
    "median": lambda net: Before(median, net),
    "total variation": lambda net: Before(smooth, net),
    "thermometer": lambda net: Before(thermometer, net),
    "plain function": as_function,
    "detached": detached,
    "logits x 1e6": lambda net: After(lambda z: 1e6 * z, net),
    "logits x 1e-12": lambda net: After(_Faint.apply, net),
    "half": lambda net: After(lambda z: z.half(), net),
    "probabilities": lambda net: After(lambda z: (20 * z).softmax(1), net),
    "labels": lambda net: After(labels, net),
    "k-winners": lambda net: Swapped(Winners(), net),
    "mean sparse": lambda net: Swapped(Sparse(), net),
    "sign": lambda net: Swapped(SignNet(), net),
    "shattered": lambda net: Before(shattered, net),
    "reversed": lambda net: Before(_Reversed.apply, net),
    "detector": Detector,
}
"""Tricks that answer the same every time."""
RANDOM: dict[str, Callable[[nn.Module], Net]] = {
    "noise": lambda net: Before(noisy, net),
    "dropout": Dropped,
    "drawn ensemble": Drawn,
}
"""Tricks that draw random numbers."""
