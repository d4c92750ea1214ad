"""A run that keeps its images, its archive, and the model as an ONNX file."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import evidence_runs
import pytest

from advbench.evidence.archive import Archive, read_archive
from advbench.evidence.build import make_archive


class Given(NamedTuple):
    """What the tests of evidence begin with."""

    run: Path
    onnx: Path
    file: Path

    @property
    def content(self) -> bytes:
        return self.file.read_bytes()

    @property
    def archive(self) -> Archive:
        return read_archive(self.file)


@pytest.fixture(scope="package")
def given(tmp_path_factory) -> Iterator[Given]:
    """The folder of a run, its model as ONNX, and its archive."""
    folder = tmp_path_factory.mktemp("evidence")
    onnx, file = folder / "net.onnx", folder / "evidence.zip"
    onnx.write_bytes(evidence_runs.as_onnx(evidence_runs.network()))
    run = evidence_runs.run(folder / "run")
    file.write_bytes(make_archive(run, onnx=[onnx]).content)
    return Given(run, onnx, file)
