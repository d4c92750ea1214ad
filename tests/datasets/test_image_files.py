import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from advbench.datasets import image_files as module
from advbench.datasets.image_files import PictureError, find_pictures, read_picture
from advbench.errors import UserError
from advbench.sanitize import display_name, slug, unique_slugs

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
GREY, PALETTE, RGB, GREY_ALPHA, RGBA = 0, 3, 2, 4, 6
"""The colour types of PNG."""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size, depth, colour_type, rows, extra=b""):
    """A PNG from its packed rows, for the kinds that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def words(*values):
    return struct.pack(f">{len(values)}H", *values)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def quadrants(mode="RGB", side=32):
    """Red, green over blue, white: no two orientations look alike."""
    image = Image.new("RGB", (side, side))
    half = side // 2
    for colour, corner in ((RED, (0, 0)), (GREEN, (half, 0)), (BLUE, (0, half)), (WHITE, (half, half))):
        image.paste(colour, (*corner, corner[0] + half, corner[1] + half))
    return image.convert(mode)


def corners(image):
    w, h = image.size
    return [
        image.getpixel(at)
        for at in ((w // 4, h // 4), (3 * w // 4, h // 4), (w // 4, 3 * h // 4), (3 * w // 4, 3 * h // 4))
    ]


@pytest.fixture
def write(tmp_path):
    def write(data, name="picture.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(path):
    """The message with which a path is refused, checked to be one printable line that names it."""
    with pytest.raises(PictureError, match=r"^cannot read '") as error:
        read_picture(path)
    message = str(error.value)
    assert message.isprintable()
    assert error.value.path == Path(path)
    return message.partition("': ")[2]


class TestWhatAPersonSees:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100, "subsampling": 0})],
    )
    @pytest.mark.parametrize("name", ["quadrants.jpg", "no-suffix", "wrong.txt"])
    def test_each_format_whatever_the_suffix(self, write, kind, options, name):
        image = read_picture(write(encoded(quadrants(), kind, **options), name))
        assert type(image) is Image.Image
        assert (image.mode, image.size) == ("RGB", (32, 32))
        np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, WHITE], atol=1)

    @pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}])
    def test_progressive_jpeg(self, write, options):
        image = read_picture(write(encoded(quadrants(), "JPEG", quality=95, **options)))
        np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, WHITE], atol=3)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
    def test_grey(self, write, kind):
        path = write(encoded(Image.new("L", (8, 8), 77), kind))
        assert read_picture(path).getpixel((3, 3)) == (77, 77, 77)
        assert read_picture(path, "L").getpixel((3, 3)) == 77

    def test_colour_read_as_grey(self, write):
        image = read_picture(write(encoded(Image.new("RGB", (2, 2), GREEN), "PNG")), "L")
        assert (image.mode, image.getpixel((0, 0))) == ("L", 150)

    @pytest.mark.parametrize("kind", ["PNG", "BMP"])
    def test_palette(self, write, kind):
        image = read_picture(write(encoded(quadrants("P"), kind)))
        assert corners(image) == [RED, GREEN, BLUE, WHITE]

    def test_palette_with_one_transparent_colour(self, write):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *GREEN])
        image.putpixel((1, 0), 1)
        image = read_picture(write(encoded(image, "PNG", transparency=0)))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [WHITE, GREEN]

    def test_palette_with_shades_of_transparency(self, write):
        extra = chunk(b"PLTE", bytes([*RED, *GREEN, *BLUE])) + chunk(b"tRNS", bytes([0, 128]))
        image = read_picture(write(png((3, 1), 8, PALETTE, [bytes([0, 1, 2])], extra)))
        assert [image.getpixel((i, 0)) for i in range(3)] == [WHITE, (127, 255, 127), BLUE]

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
    def test_alpha_is_laid_over_white(self, write, kind, options):
        image = Image.new("RGBA", (3, 1), (*RED, 0))
        image.putpixel((1, 0), (*RED, 51))
        image.putpixel((2, 0), (*RED, 255))
        image = read_picture(write(encoded(image, kind, **options)))
        assert [image.getpixel((i, 0)) for i in range(3)] == [WHITE, (255, 204, 204), RED]

    def test_bmp_with_alpha(self, write):
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks + bytes(52)
        pixels = bytes([*RED[::-1], 51, *RED[::-1], 255])
        data = b"BM" + struct.pack("<IHHI", 14 + 108 + 8, 0, 0, 14 + 108) + header + pixels
        image = read_picture(write(data))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [(255, 204, 204), RED]

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_grey_with_alpha(self, write, mode):
        path = write(png((3, 1), 8, GREY_ALPHA, [bytes([0, 0, 0, 51, 9, 255])]))
        image = read_picture(path, mode).convert("L")
        assert list(image.tobytes()) == [255, 204, 9]

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_16_bit_grey_is_scaled_not_clipped(self, write, mode):
        values = (0, 255, 256, 32768, 65535)
        image = read_picture(write(png((5, 1), 16, GREY, [words(*values)])), mode)
        assert list(image.convert("L").tobytes()) == [0, 0, 1, 128, 255]

    def test_16_bit_colour(self, write):
        row = words(65535, 32768, 0) + words(255, 256, 257)
        image = read_picture(write(png((2, 1), 16, RGB, [row])))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [(255, 128, 0), (0, 1, 1)]

    def test_16_bit_alpha(self, write):
        colour = words(65535, 32768, 0, 0) + words(65535, 32768, 0, 65535)
        image = read_picture(write(png((2, 1), 16, RGBA, [colour])))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [WHITE, (255, 128, 0)]
        image = read_picture(write(png((2, 1), 16, GREY_ALPHA, [words(0, 0, 32768, 65535)])))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [WHITE, (128, 128, 128)]

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize(
        ("depth", "row", "colour", "expected"),
        [
            (1, b"\x80", 1, [255, 0]),
            (1, b"\x80", 0, [255, 255]),
            (2, b"\x90", 2, [255, 85]),
            (4, b"\x3a", 10, [51, 255]),
            (8, b"\x05\x06", 5, [255, 6]),
            (16, words(0x0105, 0x0106), 0x0105, [255, 1]),
        ],
    )
    def test_grey_with_a_transparent_value(self, write, mode, depth, row, colour, expected):
        picture = png((2, 1), depth, GREY, [row], chunk(b"tRNS", words(colour)))
        assert list(read_picture(write(picture), mode).convert("L").tobytes()) == expected

    @pytest.mark.parametrize(("depth", "pack"), [(8, bytes), (16, lambda v: words(*(257 * i for i in v)))])
    def test_colour_with_a_transparent_value(self, write, depth, pack):
        scale = 257 if depth == 16 else 1
        extra = chunk(b"tRNS", words(*(scale * v for v in (200, 20, 2))))
        image = read_picture(write(png((2, 1), depth, RGB, [pack([200, 20, 2, 1, 2, 3])], extra)))
        assert [image.getpixel((i, 0)) for i in (0, 1)] == [WHITE, (1, 2, 3)]

    @pytest.mark.parametrize("kind", ["PNG", "BMP"])
    def test_one_bit(self, write, kind):
        image = read_picture(write(encoded(quadrants("L").point(lambda v: 255 * (v > 100)).convert("1"), kind)))
        assert corners(image) == [(0, 0, 0), WHITE, (0, 0, 0), WHITE]

    @pytest.mark.parametrize("adobe_marker", [True, False])
    def test_cmyk_jpeg_holds_inverted_ink_as_adobe_writes_it(self, write, adobe_marker):
        data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
        marker = data.index(b"\xff\xee")
        if not adobe_marker:
            data = data[:marker] + data[marker + 16 :]
        np.testing.assert_allclose(read_picture(write(data)).getpixel((8, 8)), RED, atol=2)

    def test_ycck_jpeg(self, write):
        # Adobe stores Y, Cb, Cr of the ink (colour 200, 100, 50), which Pillow's writer inverts once more.
        ycc = Image.new("RGB", (16, 16), (55, 155, 205)).convert("YCbCr").split()
        stored = [channel.point(lambda v: 255 - v) for channel in ycc]
        data = encoded(Image.merge("CMYK", [*stored, Image.new("L", (16, 16), 0)]), "JPEG", quality=100)
        transform = data.index(b"Adobe") + 11
        data = data[:transform] + b"\x02" + data[transform + 1 :]
        np.testing.assert_allclose(read_picture(write(data)).getpixel((8, 8)), (200, 100, 50), atol=4)

    @pytest.mark.parametrize(
        ("orientation", "expected"),
        [
            (1, [RED, GREEN, BLUE, WHITE]),
            (2, [GREEN, RED, WHITE, BLUE]),
            (3, [WHITE, BLUE, GREEN, RED]),
            (4, [BLUE, WHITE, RED, GREEN]),
            (5, [RED, BLUE, GREEN, WHITE]),
            (6, [BLUE, RED, WHITE, GREEN]),
            (7, [WHITE, GREEN, BLUE, RED]),
            (8, [GREEN, WHITE, RED, BLUE]),
            (99, [RED, GREEN, BLUE, WHITE]),
        ],
    )
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_the_orientation_of_the_camera(self, write, orientation, expected, kind):
        exif = Image.Exif()
        exif[0x0112] = orientation
        tall = quadrants().resize((32, 64), Image.Resampling.NEAREST)
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
        image = read_picture(write(encoded(tall, kind, exif=exif, **options)))
        assert image.size == ((64, 32) if orientation in (5, 6, 7, 8) else (32, 64))
        np.testing.assert_allclose(corners(image), expected, atol=1)
        assert not image.getexif()

    @pytest.mark.parametrize(
        "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
    )
    def test_damaged_metadata_do_not_cost_the_picture(self, write, exif):
        image = read_picture(write(encoded(quadrants(), "JPEG", quality=95, exif=exif)))
        np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, WHITE], atol=3)

    @pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000), (65_500, 3)])
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
    def test_odd_sizes(self, write, size, kind):
        image = read_picture(write(encoded(Image.new("RGB", size, WHITE), kind)))
        assert image.size == size
        assert image.getpixel((size[0] - 1, size[1] - 1)) == WHITE

    def test_the_main_view_of_a_photograph_with_several(self, write):
        views = [quadrants(), Image.new("RGB", (32, 32))]
        data = encoded(views[0], "MPO", save_all=True, append_images=views[1:], quality=95)
        np.testing.assert_allclose(corners(read_picture(write(data))), [RED, GREEN, BLUE, WHITE], atol=3)

    def test_video_behind_a_photograph_is_not_counted_as_scans(self, write):
        data = encoded(quadrants(), "JPEG", quality=95) + b"\xff\xda\0\2" * 500
        np.testing.assert_allclose(corners(read_picture(write(data))), [RED, GREEN, BLUE, WHITE], atol=3)

    def test_no_metadata_are_left(self, write):
        data = encoded(quadrants(), "PNG", icc_profile=b"profile", dpi=(72, 72))
        assert read_picture(write(data)).info == {}

    def test_the_filters_of_warnings_are_left_as_they_were(self, write):
        before = list(warnings.filters)
        read_picture(write(encoded(quadrants(), "PNG")))
        refusal(write(b"text"))
        assert warnings.filters == before

    def test_another_mode_is_a_mistake_of_the_program(self, write):
        with pytest.raises(ValueError, match="expected mode 'RGB' or 'L', got 'RGBA'"):
            read_picture(write(encoded(quadrants(), "PNG")), "RGBA")


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
        assert refusal(path) == "no permission; change its access rights or copy it to a place of yours"

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
from advbench.datasets.image_files import PictureError, read_picture
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


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder, found):
    return [picture.relative_to(folder).as_posix() for picture in found.pictures]


class TestFinding:
    def test_a_folder_is_searched_in_order(self, tmp_path):
        make(tmp_path, "b.PNG", "a.jpg", "z/2.jpeg", "z/1.WebP", "m/n/o.bmp", "notes.txt", "x.gif", "jpg")
        make(tmp_path, ".hidden.png", ".cache/a.png", "m/.b/c.png")
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a.jpg", "b.PNG", "m/n/o.bmp", "z/1.WebP", "z/2.jpeg"]
        assert found.problems == ()

    def test_files_are_taken_as_they_are_in_the_order_given(self, tmp_path):
        make(tmp_path, "b.dat", "a", ".hidden", "c.png")
        names = [tmp_path / name for name in ("c.png", "b.dat", ".hidden", "a")]
        assert find_pictures(map(str, names)).pictures == tuple(names)

    def test_a_hidden_folder_that_is_named_is_searched(self, tmp_path):
        make(tmp_path, ".cache/a.png")
        assert find_pictures([tmp_path / ".cache"]).pictures == (tmp_path / ".cache/a.png",)

    def test_one_path_alone(self, tmp_path):
        make(tmp_path, "a.png")
        assert find_pictures(str(tmp_path / "a.png")).pictures == (tmp_path / "a.png",)
        assert find_pictures(tmp_path).pictures == (tmp_path / "a.png",)

    def test_problems_do_not_stop_the_others(self, tmp_path):
        make(tmp_path, "a.png", "empty/notes.txt")
        found = find_pictures([tmp_path / "gone.png", "", "nul\0.png", tmp_path / "empty", tmp_path / "a.png"])
        assert found.pictures == (tmp_path / "a.png",)
        assert [problem.path for problem in found.problems][3] == tmp_path / "empty"
        assert [str(problem).partition("': ")[2] for problem in found.problems] == [
            "no such file or folder; check the spelling",
            "the name is empty; name a picture or a folder",
            "no file can have this name; check the spelling",
            "no pictures in this folder; only .bmp .jpeg .jpg .png .webp files are looked for",
        ]

    def test_an_unreadable_folder_is_told_and_the_rest_is_read(self, tmp_path, monkeypatch):
        make(tmp_path, "a.png", "locked/b.png", "open/c.png")
        iterdir = Path.iterdir

        def forbid(path):
            if path.name == "locked":
                raise PermissionError(13, "Permission denied")
            return iterdir(path)

        monkeypatch.setattr(Path, "iterdir", forbid)
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a.png", "open/c.png"]
        assert [problem.path for problem in found.problems] == [tmp_path / "locked"]
        assert "no permission" in str(found.problems[0])
        assert [str(p).count("no permission") for p in find_pictures([tmp_path / "locked"]).problems] == [1]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
    def test_a_folder_without_rights(self, tmp_path):
        make(tmp_path, "locked/b.png")
        (tmp_path / "locked").chmod(0)
        try:
            assert "no permission" in str(find_pictures([tmp_path]).problems[0])
        finally:
            (tmp_path / "locked").chmod(0o700)

    def test_loops_of_links_end(self, tmp_path):
        make(tmp_path, "a/b/c.png")
        (tmp_path / "a/b/up").symlink_to(tmp_path)
        (tmp_path / "a/self").symlink_to(".")
        (tmp_path / "a/round.png").symlink_to("round.png")
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a/round.png", "a/b/c.png"]
        assert found.problems == ()

    def test_linked_folders_are_searched(self, tmp_path):
        make(tmp_path, "elsewhere/a.png", "here/notes.txt")
        (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
        assert listed(tmp_path, find_pictures([tmp_path / "here"])) == ["here/link/a.png"]

    def test_the_same_file_is_taken_once(self, tmp_path, monkeypatch):
        make(tmp_path, "a.png", "b.png")
        (tmp_path / "link.png").symlink_to("a.png")
        monkeypatch.chdir(tmp_path)
        found = find_pictures(["b.png", "./b.png", tmp_path, "link.png", tmp_path / "b.png"])
        assert found.pictures == (Path("b.png"), tmp_path / "a.png")
        assert found.problems == ()

    def test_a_folder_deeper_than_python_recurses(self, tmp_path, monkeypatch):
        depth = sys.getrecursionlimit() + 50
        monkeypatch.chdir(tmp_path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.png").touch()
        try:
            assert len(find_pictures([tmp_path]).pictures) == 1
        finally:
            # Emptied from below, for what clears temporary folders may recurse.
            Path("x.png").unlink()
            for _ in range(depth):
                os.chdir("..")
                Path("d").rmdir()


TEXT = st.text(st.characters(), max_size=200)
"""Any text, surrogates included."""


class TestNames:
    @given(TEXT, st.integers(10, 300))
    def test_a_shown_name_is_one_printable_line_within_the_limit(self, name, limit):
        shown = display_name(name, limit=limit)
        assert shown.isprintable()
        assert len(shown) <= limit

    @given(st.text(st.characters(categories=["L", "N", "P"]), max_size=80))
    def test_a_harmless_name_is_shown_as_it_is(self, name):
        assert display_name(name) == name

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("\x1b[2J", r"\x1b[2J"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\x7f\x9b", r"\x7f\x9b"),
            ("\u202ea\u2066b\u200f", r"\u202ea\u2066b\u200f"),
            ("\u2028\u200b\ufeff", r"\u2028\u200b\ufeff"),
            ("\U000e0041", r"\U000e0041"),
            ("Šárka & 虎 🐅.jpg", "Šárka & 虎 🐅.jpg"),
            ("x" * 81, "x" * 25 + "..." + "x" * 52),
            (Path("a/b.png"), str(Path("a/b.png"))),
        ],
    )
    def test_known_names(self, name, shown):
        assert display_name(name) == shown

    def test_a_cut_name_keeps_its_end(self):
        assert display_name("/data/" + "x" * 500 + "/tiger.jpg", limit=40).endswith("/tiger.jpg")
        with pytest.raises(ValueError, match="expected limit >= 10, got 9"):
            display_name("tiger", limit=9)

    @given(TEXT)
    def test_a_slug_is_safe_and_stays_what_it_is(self, name):
        made = slug(name)
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", made)
        assert made[-1] not in ".-"
        assert slug(made) == made

    @pytest.mark.parametrize(
        ("name", "made"),
        [
            ("", "unnamed"),
            ("虎", "unnamed"),
            ("...", "unnamed"),
            ("../../etc/passwd", "etc-passwd"),
            ("-rf", "rf"),
            ("_tiger_", "_tiger_"),
            ("=HYPERLINK()", "HYPERLINK"),
            ("naïve tiger.v2", "naive-tiger.v2"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("com", "com"),
            ("con" + "-" * 100 + "x", "con-x"),
            ("con" + ".-" * 60 + "x", "_con" + ".-" * 37 + "."),
            ("x" * 79 + ".-y", "x" * 79),
        ],
    )
    def test_known_slugs(self, name, made):
        assert slug(name) == made.rstrip(".-")

    @given(st.lists(st.one_of(TEXT, st.sampled_from(["a", "A", "a-2", "a-2-2", "x" * 90])), max_size=30))
    def test_unique_slugs_are_safe_and_differ_on_every_file_system(self, names):
        made = unique_slugs(names)
        assert len(made) == len(names)
        assert len({name.lower() for name in made}) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", name) for name in made)
        assert made == unique_slugs(names)

    def test_known_unique_slugs(self):
        assert unique_slugs(["tiger", "tiger"]) == ["tiger", "tiger-2"]
        assert unique_slugs(["a", "a-2", "a", "A", "a"]) == ["a", "a-2", "a-3", "A-4", "a-5"]
        assert unique_slugs(["x" * 90] * 2) == ["x" * 80, "x" * 78 + "-2"]
        assert len(set(unique_slugs(["tiger"] * 20_000))) == 20_000
