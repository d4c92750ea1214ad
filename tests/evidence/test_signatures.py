"""Archives are signed by the one key and verified by the other."""

import pytest
from evidence_runs import classifier, members, packed

from advbench.errors import UserError
from advbench.evidence import standalone
from advbench.evidence.archive import read_archive
from advbench.evidence.build import make_archive
from advbench.evidence.checking import check_archive

ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")

from key_files import write_keys  # noqa: E402

from advbench.evidence.signature import read_private_key, read_public_key, signature_problem, signed  # noqa: E402


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path)


def test_the_owner_of_the_key_signed_these_very_bytes(given, keys, tmp_path):
    content = signed(make_archive(given.run, onnx=[given.onnx], signed=True).content, read_private_key(keys[0]))
    assert signature_problem(content, read_public_key(keys[1])) == ""
    (tmp_path / "signed.zip").write_bytes(content)
    assert check_archive(read_archive(tmp_path / "signed.zip"), classifier()).problems == []
    assert standalone.check(content, given.onnx.read_bytes())[0] == []


def test_another_key_no_key_and_another_content_are_found(given, keys, tmp_path):
    content = signed(make_archive(given.run, onnx=[given.onnx], signed=True).content, read_private_key(keys[0]))
    (tmp_path / "others").mkdir()
    other, mine = read_public_key(write_keys(tmp_path / "others")[1]), read_public_key(keys[1])
    assert "not made with that key" in signature_problem(content, other)
    assert signature_problem(given.content, mine) == "the archive is not signed"
    assert signature_problem(packed(members(content)), mine) == "the archive is not signed"
    # everything that the signature covers is another where one file is, and the digest made to fit helps nobody
    from advbench.evidence.archive import UNSIGNED
    from advbench.records.storage.checksum import BLANK, sealed

    room = len(UNSIGNED) + len(BLANK)
    foreign = packed(members(content) | {"report.json": b"{}"})
    forged = sealed(foreign[: -len(BLANK)] + content[-room : -len(BLANK)] + BLANK.encode())
    assert "not made with that key" in signature_problem(forged, mine)


def test_keys_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "text.pem").write_text("no key")
    with pytest.raises(UserError, match="does not contain a private key in PEM format\nopenssl genpkey"):
        read_private_key(tmp_path / "text.pem")
    with pytest.raises(UserError, match=r"cannot read the key .*none.pem: No such file"):
        read_private_key(tmp_path / "none.pem")
    private, public = write_keys(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UserError, match="does not contain an ed25519 private key"):
        read_private_key(private)
    with pytest.raises(UserError, match="does not contain an ed25519 public key"):
        read_public_key(public)
    private, _ = write_keys(tmp_path, password=b"secret")
    with pytest.raises(UserError, match="has a password"):
        read_private_key(private)
