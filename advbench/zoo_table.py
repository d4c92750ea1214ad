"""The classifiers that the project trains itself: what each is, and the figure claimed for it. Plain data; no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ZooRow:
    """One classifier of the zoo."""

    name: str
    """As in `advbench models`."""
    data: Literal["mnist", "cifar10", "cifar10-grey", "smiles"]
    """What it is trained on."""
    architecture: str = ""
    """Name of the function in `advbench.models.architectures`; empty: the name itself."""
    claimed: float | None = None
    """Test accuracy that the founding text states, if it does."""
    claim: str = ""
    """The claim in words, where it is no plain accuracy."""

    @property
    def function(self) -> str:
        """Name of the function that makes the architecture."""
        return self.architecture or self.name


ZOO = (
    ZooRow(name="mnist_convnet", data="mnist", claimed=0.99),
    ZooRow(
        name="mnist_convnet_robust",
        data="mnist",
        architecture="mnist_convnet",
        claim="above 90 % under attack within Linf 0.3",
    ),
    ZooRow(name="lenet", data="mnist"),
    ZooRow(name="lenet_scrambled", data="mnist", claim="worse than lenet"),
    ZooRow(name="mlp_mnist", data="mnist"),
    ZooRow(name="mlp_scrambled", data="mnist", claim="equal to mlp_mnist"),
    ZooRow(name="cifar10_cnn", data="cifar10", claimed=0.64),
    ZooRow(name="cifar10_vgg1", data="cifar10", claimed=0.721),
    ZooRow(name="cifar10_vgg2", data="cifar10", claim="better than cifar10_vgg1"),
    ZooRow(name="cifar10_vgg3", data="cifar10", claim="a little better than cifar10_vgg2"),
    ZooRow(name="cifar10_vgg4", data="cifar10", claimed=0.80),
    ZooRow(
        name="cifar10_resnet_robust",
        data="cifar10",
        architecture="cifar10_resnet",
        claim="above 65 %, and above 30 % under attack within Linf 8/255",
    ),
    ZooRow(name="gray_mlp", data="cifar10-grey", claimed=0.44),
    ZooRow(name="gray_cnn", data="cifar10-grey", claimed=0.77),
    ZooRow(name="gray_forest", data="cifar10-grey", claimed=0.42),
    ZooRow(name="smile_cnn", data="smiles", claimed=0.88, claim="precision 0.98"),
    ZooRow(name="smile_cnn_robust", data="smiles", architecture="smile_cnn"),
)
"""In the order of `advbench models`."""
