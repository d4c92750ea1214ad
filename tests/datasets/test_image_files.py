"""Pictures read as a person sees them: formats, colour types, transparency, depths and orientations."""

import struct
import warnings

import numpy as np
import pytest
from picture_files import (
    BLUE,
    GREEN,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RED,
    RGB,
    RGBA,
    WHITE,
    chunk,
    encoded,
    png,
    quadrants,
    refusal,
)
from PIL import Image

from advbench.datasets.images.files import read_picture


def words(*values):
    return struct.pack(f">{len(values)}H", *values)


def corners(image):
    w, h = image.size
    return [
        image.getpixel(at)
        for at in ((w // 4, h // 4), (3 * w // 4, h // 4), (w // 4, 3 * h // 4), (3 * w // 4, 3 * h // 4))
    ]


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
