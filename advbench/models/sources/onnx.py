"""ONNX files through onnxruntime: a black box that gives logits and no gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, reason
from advbench.models.classifier import Classifier
from advbench.models.described import described, input_shape, other_inputs, other_type
from advbench.models.sources.user_code import own_file

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""ONNX names of the input types that floats can be converted to."""


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load an ONNX file. Attacks that need a gradient say that there is none.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the file holds its own.
        about: What the user says of the model.

    Raises:
        UserError: onnxruntime is not installed, the file is no ONNX classifier of images, or it does not say which of
            several outputs holds the logits.
    """
    file = own_file(card, weights)
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"{file} needs the package onnxruntime, which is not installed", hint='pip install "advbench[onnx]"'
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class in common
        raise UserError(f"{file} is no ONNX file that onnxruntime can run: {reason(error)}") from None
    inputs = session.get_inputs()
    got = ", ".join(f"{each.name} {each.shape}" for each in inputs)
    if len(inputs) != 1:
        raise other_inputs(file, got)
    shape = input_shape(inputs[0].shape, file, got)
    if inputs[0].type not in _TYPES:
        raise other_type(file, inputs[0].type.removeprefix("tensor(").removesuffix(")"))
    return described(_Session(session), file, card.name, shape, about)


class _Session(nn.Module):
    """A session of onnxruntime as a network; it computes on the CPU."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self._type = _TYPES[session.get_inputs()[0].type]
        self._outputs: list[str] = [output.name for output in session.get_outputs()]

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Images (N, C, H, W) to what the file answers, by the names of its outputs; without a gradient."""
        images = x.detach().cpu().contiguous().numpy().astype(self._type, copy=False)
        answers = self._session.run(self._outputs, {self._input: images})
        return {name: _as_tensor(answer, x) for name, answer in zip(self._outputs, answers, strict=True)}


def _as_tensor(answer: Any, x: Tensor) -> Any:
    """An array as a tensor beside the images, floats in their type; anything else, such as a list, as it is."""
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiub":
        return answer
    tensor = torch.from_numpy(answer).to(x.device)
    return tensor.to(x.dtype) if tensor.is_floating_point() else tensor
