"""Picture files that are refused, each with one line that says why."""

import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from picture_files import GREY, chunk, encoded, png, quadrants, refusal
from PIL import Image

from advbench.datasets.images import files as module
from advbench.datasets.images.files import PictureError, read_picture
from advbench.errors import UserError


def animation(kind):
    frames = [quadrants(), Image.new("RGB", (32, 32))]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "the file is empty; fetch or save it again"),
            (b"Dear Sir or Madam,\n", "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG"),
            (b"<!DOCTYPE html><title>404</title>", "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG"),
            (b"\0", "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG"),
            (b"BM", "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG"),
            (b"\x89PNG\r\n\x1a\n", "the PNG is damaged; fetch or save it again"),
            (b"\xff\xd8\xff\xe0\0", "the JPEG is damaged; fetch or save it again"),
            (b"RIFF\x20\0\0\0WEBPVP8L", "the WebP is damaged; fetch or save it again"),
            (b"%PDF-1.7", "PDF is not accepted: save it as PNG"),
            (b"\0\0\0\x1cftypheic", "HEIC is not accepted: save it as PNG"),
            (b"\0\0\0\x1cftypavif", "AVIF is not accepted: save it as PNG"),
            (encoded(quadrants(), "GIF"), "GIF is not accepted: save it as PNG"),
            (animation("GIF"), "GIF is not accepted: save it as PNG"),
            (encoded(quadrants(), "TIFF"), "TIFF is not accepted: save it as PNG"),
            (encoded(quadrants(), "PPM"), "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG"),
            (animation("PNG"), "the picture is animated; save the frame you mean as PNG"),
            (animation("WEBP"), "the picture is animated; save the frame you mean as PNG"),
        ],
    )
    def test_what_is_no_single_picture(self, write, data, message):
        assert refusal(write(data, "tiger.png")) == message

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
    @pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.9])
    def test_truncated(self, write, kind, share):
        noise = Image.effect_noise((64, 64), 80).convert("RGB")
        data = encoded(noise, kind, **({"lossless": True} if kind == "WEBP" else {}))
        message = refusal(write(data[: int(len(data) * share)]))
        assert re.fullmatch(r"the (JPEG|PNG|WebP|WEBP|BMP) is damaged.*; fetch or save it again", message)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
    def test_any_cut_gives_a_picture_or_a_clear_line(self, write, kind):
        data = encoded(quadrants(side=16), kind)
        for length in range(1, len(data), max(1, len(data) // 150)):
            path = write(data[:length])
            try:
                assert read_picture(path).size == (16, 16)
            except PictureError as error:
                refused = str(error)
                assert refused.isprintable()

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
    def test_any_flipped_byte_gives_a_picture_or_a_clear_line(self, write, kind):
        data = bytearray(encoded(quadrants(side=16), kind))
        for place in range(0, len(data), max(1, len(data) // 150)):
            data[place] ^= 0xFF
            try:
                read_picture(write(data))
            except PictureError as error:
                refused = str(error)
                assert refused.isprintable()
            data[place] ^= 0xFF

    def test_more_pixels_than_the_limit(self, write, monkeypatch):
        path = write(encoded(Image.new("1", (100, 50)), "PNG"))
        monkeypatch.setattr(module, "MAX_PIXELS", 5000)
        assert read_picture(path).size == (100, 50)
        monkeypatch.setattr(module, "MAX_PIXELS", 4999)
        assert refusal(path).startswith("the picture has 100 x 50 pixels, more than 0 megapixels")

    @pytest.mark.parametrize("size", [(7072, 7071), (9500, 9500), (50_000, 50_000)])
    def test_too_many_pixels_by_the_header(self, write, size):
        data = png(size, 8, GREY, [])
        assert re.search("more than 50 megapixels; save a smaller copy$", refusal(write(data)))

    @pytest.mark.parametrize("limit", [None, 10**12])
    def test_our_own_limit_holds_where_pillow_s_is_lifted(self, write, monkeypatch, limit):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        message = refusal(write(png((50_000, 50_000), 8, GREY, [])))
        assert message == "the picture has 50,000 x 50,000 pixels, more than 50 megapixels; save a smaller copy"

    def test_a_file_larger_than_the_limit_is_not_opened(self, tmp_path):
        path = tmp_path / "huge.png"
        with path.open("wb") as stream:
            stream.truncate(100_000_001)
        assert refusal(path) == "the file has 100 MB, more than 100 MB; save a smaller copy"

    def test_a_jpeg_with_hundreds_of_scans(self, write):
        data = encoded(Image.new("L", (64, 64), 9), "JPEG", progressive=True)
        last = data.rindex(b"\xff\xda")
        assert read_picture(write(data[:-2] + 50 * data[last:-2] + data[-2:])).size == (64, 64)
        message = refusal(write(data[:-2] + 200 * data[last:-2] + data[-2:]))
        assert message == "the JPEG has more than 100 scans; save it as PNG"

    def test_missing(self, tmp_path):
        assert refusal(tmp_path / "tiger.jpg") == "no such file or folder; check the spelling"
        assert refusal(tmp_path / "tiger\0.jpg") == "no file can have this name; check the spelling"
        (tmp_path / "file").touch()
        assert refusal(tmp_path / "file" / "tiger.jpg") == "no such file or folder; check the spelling"
        assert refusal(tmp_path / ("x" * 5000)) == "file name too long; copy it to another place and try that"

    def test_a_folder(self, tmp_path):
        assert refusal(tmp_path) == "this is a folder; name a picture in it"

    def test_a_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        message = "this is a pipe or a device; save the picture to a file first"
        assert refusal(tmp_path / "pipe.png") == message
        assert refusal("/dev/zero") == message

    def test_a_link_in_a_circle(self, tmp_path):
        (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
        assert "too many levels of symbolic links" in refusal(tmp_path / "round.png")

    @pytest.mark.parametrize("method", ["stat", "read_bytes"])
    def test_no_permission(self, write, monkeypatch, method):
        path = write(encoded(quadrants(), "PNG"))

        def forbid(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, method, forbid)
        assert refusal(path) == "no permission; change its permissions, or copy it to a place that you can read"

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("a\n::error::b.png", r"a\n::error::b.png"),
            ("\x1b[31mred\x1b]0;title\x07.png", r"\x1b[31mred\x1b]0;title\x07.png"),
            ("[bold]x[/bold]<b>.png", "[bold]x[/bold]<b>.png"),
            ("\u202egnp.exe", r"\u202egnp.exe"),
            ("\udcff.png", r"\udcff.png"),
        ],
    )
    def test_a_name_made_to_deceive(self, tmp_path, name, shown):
        path = tmp_path / name.replace("/", "\N{DIVISION SLASH}")
        path.write_bytes(b"no picture")
        with pytest.raises(PictureError) as error:
            read_picture(path)
        assert str(error.value).isprintable()
        assert f"{shown.replace('/', chr(0x2215))}': this is not" in str(error.value)
        assert isinstance(error.value, UserError)


BOMB = """
import resource, sys
from advbench.datasets.images.files import PictureError, read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
try:
    read_picture(sys.argv[1])
except PictureError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def bomb_png(side):
    """One colour, `side` squared: a valid file of a few hundred kilobytes, packed row by row."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, GREY, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bomb_webp():
    """A 30-byte header that promises 16,384 x 16,384 pixels."""
    side = struct.pack("<I", 16_383)[:3]
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + side + side


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process and reads its use")
@pytest.mark.parametrize("bomb", [bomb_png(50_000), bomb_webp()], ids=["png", "webp"])
def test_a_bomb_is_refused_without_taking_memory(write, bomb):
    assert len(bomb) < 1_000_000
    run = subprocess.run(
        [sys.executable, "-c", BOMB, str(write(bomb))], capture_output=True, text=True, check=True, timeout=60
    )
    message, kilobytes = run.stdout.splitlines()
    assert re.search("more than 50 megapixels|damaged", message)
    assert int(kilobytes) < 50_000
    assert run.stderr == ""
