"""Picture files on disk."""

import pytest


@pytest.fixture
def write(tmp_path):
    def write(data, name="picture.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write
