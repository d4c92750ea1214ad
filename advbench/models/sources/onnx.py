"""ONNX files: answers by onnxruntime, gradients by a torch network converted from the file, where the two agree."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.config.model_description import NOTHING, Description
from advbench.datasets.images.files import read_picture
from advbench.datasets.samples import samples
from advbench.errors import UserError, not_installed, reason
from advbench.models.answers import parts_of
from advbench.models.classifier import Classifier
from advbench.models.files.described import described, input_shape, other_inputs, other_type
from advbench.models.sources.onnx_graph import read_graph, without_softmax
from advbench.models.sources.onnx_twin import Examples, twin_of
from advbench.models.sources.user_code import own_file
from attacks.queries.in_front import unwatched

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""ONNX names of the input types that floats can be converted to."""


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load an ONNX file.

    Its answers are those of onnxruntime. Where onnx2torch or onnx2pytorch makes a network of it that answers alike, to
    within :data:`advbench.models.sources.onnx_twin.TOLERANCE`, that network gives the gradients; otherwise attacks that
    need one say that there is none. A Softmax at its end is left out. The notes of the classifier
    say which of it applies.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the file holds its own.
        about: What the user says of the model.

    Raises:
        UserError: onnxruntime is not installed, the file is no ONNX classifier of images, or it does not say which of
            several outputs holds the logits.
    """
    file = own_file(card, weights)
    session = _opened(str(file), file)
    inputs = session.get_inputs()
    got = ", ".join(f"{each.name} {each.shape}" for each in inputs)
    if len(inputs) != 1:
        raise other_inputs(file, got)
    shape = input_shape(inputs[0].shape, file, got)
    if inputs[0].type not in _TYPES:
        raise other_type(file, inputs[0].type.removeprefix("tensor(").removesuffix(")"))
    graph = read_graph(file)
    remarks = []
    if graph is not None and without_softmax(graph):
        session = _opened(graph.SerializeToString(), file)
        remarks.append("the Softmax at its end is left out, so that it gives logits")
    network = Session(session)
    classifier = described(network, file, card.name, shape, about)
    try:
        network.twin, told = twin_of(graph, _examples(classifier, network))
    except Exception as error:  # onnxruntime's errors have no class in common; whoever asks again gets them
        told = f"it fails on photographs: {reason(error)}"
    remarks.append(
        f"gradients come from a network that {told} made of it"
        if network.twin
        else f"it has no gradients, because {told}"
    )
    classifier.notes += (f"{file}: {'; '.join(remarks)}",)
    return classifier


def _opened(content: str | bytes, file: Path) -> Any:
    """A session of onnxruntime.

    Raises:
        UserError: onnxruntime is not installed, or cannot run the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise not_installed(file, "onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class in common
        raise UserError(f"{file} is no ONNX file that onnxruntime can run: {reason(error)}") from None


class Session(nn.Module):
    """A session of onnxruntime as a network; it computes on the CPU.

    Its own pass is out of sight of who looks for gradients that get lost: those of the twin take their place.

    Args:
        session: An `onnxruntime.InferenceSession` with one input.
    """

    twin: nn.Module | None
    """A network of the same answers that gives the gradients; None: there are none."""
    dtype: torch.dtype
    """Type of the images that the file takes."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self._type = _TYPES[session.get_inputs()[0].type]
        self._outputs: list[str] = [output.name for output in session.get_outputs()]
        self.dtype = torch.from_numpy(np.empty(0, self._type)).dtype
        self.twin = None

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Images (N, C, H, W) to what the file answers, by the names of its outputs."""
        images = unwatched(x).cpu().contiguous().numpy().astype(self._type, copy=False)
        answers = self._session.run(self._outputs, {self._input: images})
        named = {name: _as_tensor(answer, x) for name, answer in zip(self._outputs, answers, strict=True)}
        if self.twin is None or not (torch.is_grad_enabled() and x.requires_grad):
            return named
        with warnings.catch_warnings():  # what a converter's code does is no business of the user's
            warnings.simplefilter("ignore")
            felt = parts_of(self.twin(x.to(self.dtype))).values()
        return {name: _sloping(answer, other) for (name, answer), other in zip(named.items(), felt, strict=True)}


def _sloping(answer: Any, other: Tensor) -> Any:
    """An answer, bit for bit, with the gradient of another."""
    if not isinstance(answer, Tensor) or not other.requires_grad:
        return answer
    return answer + (other - unwatched(other)).to(answer)


def _as_tensor(answer: Any, x: Tensor) -> Any:
    """An array as a tensor beside the images, floats in their type; anything else, such as a list, as it is."""
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiub":
        return answer
    tensor = torch.from_numpy(answer).to(x.device)
    return tensor.to(x.dtype) if tensor.is_floating_point() else tensor


def _examples(classifier: Classifier, session: Session) -> Examples:
    """What the file answers to photographs, one and three at once; to smooth noise if they have not its channels."""
    images = torch.stack([classifier.preprocess(read_picture(each.path)) for each in samples("imagenet")[:3]])
    channels = max(len(classifier.mean), len(classifier.std))
    if images.shape[1] != channels:
        noise = torch.rand(3, channels, 4, 4, generator=torch.Generator().manual_seed(0))
        images = nn.functional.interpolate(noise, images.shape[2:], mode="bilinear")
    found: Examples = []

    def keep(_: nn.Module, given: tuple[Tensor], answers: dict[str, Any]) -> None:
        found.append((given[0].to(session.dtype), tuple(answers.values())))

    handle = session.register_forward_hook(keep)
    with torch.no_grad():
        classifier.answer(images)
        classifier.answer(images[:1])
    handle.remove()
    return found
