"""Files of the Hugging Face hub: from its cache without a network, and no retries where there is none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advbench.models.sources.hub import hub_file

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the package huggingface_hub is not installed")
NAMES = ("first.safetensors", "second.bin")


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the hub has, and what is in its cache."""
    found: dict[str, Any] = {"hub": [], "cache": [], "asked": []}

    def download(repository: str, name: str, *, local_files_only: bool = False) -> str:
        found["asked"].append((name, local_files_only))
        if name not in found["cache" if local_files_only else "hub"]:
            raise FileNotFoundError(name)
        return str(tmp_path / name)

    def info(_: Any, repository: str, *, timeout: float) -> Any:
        if not found["hub"]:
            raise ConnectionError("no network")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in found["hub"]])

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    return found


def test_a_file_in_the_cache_needs_no_network(there: dict[str, Any]) -> None:
    there["cache"] = ["second.bin"]
    assert hub_file("someone/net", NAMES).name == "second.bin"


def test_the_first_that_the_hub_has_is_downloaded(there: dict[str, Any]) -> None:
    there["hub"] = ["second.bin", "README.md"]
    assert hub_file("someone/net", NAMES).name == "second.bin"
    there["hub"] = ["second.bin", "first.safetensors"]
    assert hub_file("someone/net", NAMES).name == "first.safetensors"


def test_without_a_network_no_download_is_tried(there: dict[str, Any]) -> None:
    with pytest.raises(ConnectionError, match="no network"):
        hub_file("someone/net", NAMES)
    assert all(local for _, local in there["asked"])
