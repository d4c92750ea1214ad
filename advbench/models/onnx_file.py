"""ONNX files through onnxruntime: a black box that gives logits and no gradient."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advbench.cards import ModelCard
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.own import described, in_batches, own_file


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load an ONNX file. Attacks that need a gradient say that there is none.

    Args:
        card: Its name is the file.
        weights: Refused: the file holds its own.

    Raises:
        UserError: onnxruntime is not installed, or the file is no ONNX classifier of images.
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
        raise UserError(f"{file} is no ONNX file that onnxruntime can run: {str(error).splitlines()[0]}") from None
    inputs, shape = session.get_inputs(), session.get_inputs()[0].shape
    if len(inputs) != 1 or len(shape) != 4:
        got = ", ".join(f"{each.name} {each.shape}" for each in inputs)
        raise UserError(f"{file} takes other inputs than one batch of images (N, C, H, W): {got}")
    sizes = [size if isinstance(size, int) else None for size in shape]
    return described(in_batches(_Session(session), sizes[0]), file, card.name, sizes[2])


class _Session(nn.Module):
    """A session of onnxruntime as a network; it computes on the CPU, in single precision."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input: str = session.get_inputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes), without a gradient."""
        (logits, *_) = self._session.run(None, {self._input: x.detach().cpu().contiguous().numpy()})
        return torch.from_numpy(logits).to(x.device)
