"""Files of trained networks say what they hold, and no more is believed of them."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from advbench import load_model
from advbench.errors import UserError
from advbench.models.files.contents import Contents, packed
from advbench.models.sources.zoo import architecture


def test_weights_alone_do_not_say_what_they_belong_to(tmp_path: Path) -> None:
    file = tmp_path / "bare.safetensors"
    save_file(architecture("lenet").state_dict(), file)
    with pytest.raises(UserError, match="holds only weights") as error:
        load_model(str(file))
    assert "--model NAME --weights FILE" in error.value.hint


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (Contents(model="lenet6", classes=tuple("0123456789")), "an unknown network: 'lenet6'"),
        (Contents(model="lenet", classes=("a", "b")), "names 2 classes, but lenet has 10"),
        (Contents(model="mlp_mnist", classes=tuple("0123456789")), "does not fit mlp_mnist"),
        (Contents(model="lenet", classes=("a", "b"), new_top=True), "does not fit lenet"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path: Path, contents: Contents, message: str) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(packed(architecture("lenet"), contents, half=True))
    with pytest.raises(UserError, match=message):
        load_model(str(file))


def test_headers_that_advbench_did_not_write(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    for header in ("no json", "[]", '{"model": "lenet"}', '{"model": "lenet", "classes": []}'):
        save_file(architecture("lenet").state_dict(), file, {"advbench": header})
        with pytest.raises(UserError, match="has a header that advbench did not write"):
            load_model(str(file))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged, cut short"):
        load_model(str(file))


def test_a_file_holds_its_own_weights(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(packed(architecture("lenet"), Contents(model="lenet", classes=tuple("0123456789")), half=True))
    assert load_model(str(file)).classes == tuple("0123456789")
    with pytest.raises(UserError, match="holds its own weights"):
        load_model(str(file), weights=file)
