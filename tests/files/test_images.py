"""Untrusted images are read completely and correctly, or refused in one line; writes are complete or not done."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from contextual_gan.files import images
from contextual_gan.files.images import (
    ImageError,
    centre_square,
    decode_rgba,
    enlarge,
    framed,
    grid,
    holds_several,
    on_background,
    read_bytes,
    read_image,
    read_rgba,
    to_float,
    to_uint8,
    write_png,
)

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)
NO_IMAGE = "not a PNG, JPEG, BMP, WebP, TIFF, GIF, AVIF or HEIC image"


def noise(height=12, width=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(image, file_format, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour, compressed, *chunks):
    """A PNG written by hand, with headers that Pillow would not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def one_row_png(bits, colour, samples, *chunks):
    """A PNG of one row of 16-bit samples, or of samples packed into bytes; colour as in its header: 0 grey, 2 RGB."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = struct.pack(f">{len(samples)}{'H' if bits == 16 else 'B'}", *samples)
    width = len(samples) // channels if bits >= 8 else 8 * len(samples) // bits
    return png(width, 1, bits, colour, zlib.compress(b"\0" + row), *chunks)


def tiff(*entries):
    """EXIF data by hand: entries (tag, type, count, value)."""
    packed = [struct.pack("<HHI4s", tag, kind, count, value.ljust(4, b"\0")) for tag, kind, count, value in entries]
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(packed)) + b"".join(packed) + bytes(4)


def orientation(number):
    return (0x112, 3, 1, struct.pack("<H", number))


def reason(read, *args):
    """The message of the ImageError of `read`, which must be one line."""
    with pytest.raises(ImageError) as caught:
        read(*args)
    message = str(caught.value)
    assert message.strip() and len(message.splitlines()) == 1
    return message


# --- damaged and foreign files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {}),
    ],
)
def test_a_truncated_file_never_gives_half_a_picture(file_format, options):
    data = encode(noise(), file_format, **options)
    whole = decode_rgba(data)
    for length in range(1, len(data)):
        try:
            picture = decode_rgba(data[:length])
        except ImageError as error:
            assert len(str(error).splitlines()) == 1
        else:  # only the end mark or a checksum may be missing
            assert length >= len(data) - 24
            np.testing.assert_array_equal(picture, whole)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_file_cut_in_a_large_picture_is_refused(file_format, share):
    data = encode(noise(300, 400), file_format)
    assert "damaged image" in reason(decode_rgba, data[: int(share * len(data))])


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    assert reason(read_image, tmp_path / "empty.png") == "empty file"


@pytest.mark.parametrize(
    "data", [b"just text, called .png\n", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", bytes(5000)]
)
def test_a_file_that_is_not_an_image_is_refused(data):
    assert reason(decode_rgba, data) == NO_IMAGE


@pytest.mark.parametrize("message", ["one\n  two\r\nthree", "", "  \n"])
def test_errors_of_decoders_become_one_line(monkeypatch, message):
    def load(self):
        raise SyntaxError(message)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    expected = "damaged image: one two three" if "one" in message else "damaged image: SyntaxError"
    assert reason(decode_rgba, encode(noise(), "BMP")) == expected


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "ICO", "JPEG2000", "PDF", "EPS", "SGI", "PCX"])
def test_formats_not_in_the_list_are_refused(file_format):
    if file_format == "PDF":
        assert reason(decode_rgba, encode(noise(), "PDF")).startswith("a PDF, not an image: export")
    else:
        assert reason(decode_rgba, encode(noise(), file_format)) == NO_IMAGE


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n...", "a PDF"),
        (b"\n %PDF-1.4", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn by hand -->\n<svg width='3'>", "an SVG"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
    ],
)
def test_files_mistaken_for_images_are_refused_with_their_kind_and_advice(data, what):
    assert reason(decode_rgba, data).startswith(f"{what}, not ")


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "MPO", "GIF", "TIFF", "AVIF"])
def test_the_first_of_several_pictures_in_a_file_is_used(file_format):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    both, one = encode(first, file_format, save_all=True, append_images=[second]), encode(first, file_format)
    np.testing.assert_allclose(on_background(decode_rgba(both)), np.full((8, 8, 3), RED), atol=2)
    assert holds_several(both) == (file_format != "MPO")  # previews appended by phones do not count
    assert not holds_several(one)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiffs_of_every_kind_are_read(mode, compression):
    plain = Image.fromarray(np.kron(np.uint8([[0, 255]]), np.ones((8, 8), np.uint8))).convert("RGB")
    if mode in ("I;16", "F"):
        grey = np.asarray(plain.convert("L"), np.float64) / 255
        image = Image.fromarray((grey * 65535).astype(np.uint16) if mode == "I;16" else grey.astype(np.float32))
    elif mode == "LAB":
        image = ImageCms.profileToProfile(
            plain, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    else:
        image = plain.convert(mode)
    picture = on_background(decode_rgba(encode(image, "TIFF", compression=compression)))
    np.testing.assert_allclose(picture, np.asarray(plain), atol=3)


def test_the_transparent_part_of_a_gif_is_white():
    image = Image.fromarray(np.uint8([[0, 1], [1, 0]]), "P")
    image.putpalette([*BLACK, *RED])
    picture = on_background(decode_rgba(encode(image, "GIF", transparency=0)))
    assert picture.tolist() == [[[*WHITE], [*RED]], [[*RED], [*WHITE]]]


def test_a_heic_is_read_with_the_extra_and_refused_by_name_without_it(monkeypatch):
    data = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        message = reason(decode_rgba, data)
        assert message.startswith("a HEIC photo") and 'pip install -e ".[heic]"' in message
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), "red")).save(buffer)
    picture = decode_rgba(buffer.getvalue())
    assert picture.shape == (32, 64, 4) and not holds_several(buffer.getvalue())
    np.testing.assert_allclose(on_background(picture), np.full((32, 64, 3), RED), atol=4)
    assert "damaged" in reason(decode_rgba, data) or NO_IMAGE in reason(decode_rgba, data)


# --- sizes ------------------------------------------------------------------------------------------------------------


def refuse_to_decode(monkeypatch):
    def load(self):
        raise AssertionError("decoded before the size was checked")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def test_a_bomb_of_100_megapixels_in_97_kb_is_refused_undecoded(monkeypatch):
    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(10001 * 100)) for _ in range(100)) + deflate.flush()
    bomb = png(10000, 10000, 8, 0, rows)
    assert len(bomb) < 100_000
    refuse_to_decode(monkeypatch)
    assert reason(decode_rgba, bomb) == "10000 x 10000 pixels, the limit is 25 megapixels"


def huge(file_format):
    """A small file whose header claims nearly the largest size of the format, at most 50,000 x 50,000."""
    if file_format == "PNG":
        return png(50000, 50000, 8, 2, zlib.compress(bytes(100)))
    data = bytearray(encode(noise(), file_format, **({"lossless": True} if file_format == "WEBP" else {})))
    if file_format == "BMP":
        data[18:26] = struct.pack("<ii", 50000, 50000)
    elif file_format == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 50000, 50000)
    elif file_format == "GIF":
        data[6:10] = struct.pack("<HH", 50000, 50000)
    elif file_format == "TIFF":
        directory = struct.unpack_from("<I", data, 4)[0]
        for number, tag in enumerate((256, 257)):
            struct.pack_into("<HHII", data, directory + 2 + 12 * number, tag, 4, 1, 50000)
    elif file_format == "AVIF":  # libavif itself refuses more than 16384 x 16384
        size = data.index(b"ispe") + 8
        data[size : size + 8] = struct.pack(">II", 16000, 16000)
    else:  # 14 bits each of width - 1 and height - 1
        data[21:25] = struct.pack("<I", 16382 | 16382 << 14)
    return bytes(data)


@pytest.mark.parametrize("file_format", images.FORMATS)
def test_a_header_that_claims_a_huge_size_is_refused_undecoded(file_format, monkeypatch):
    refuse_to_decode(monkeypatch)
    limit = 200 if file_format == "JPEG" else 25
    assert f"{limit} megapixels" in reason(decode_rgba, huge(file_format))


def test_the_limit_is_25_megapixels_exactly():
    assert "megapixels" in reason(decode_rgba, png(5000, 5001, 8, 0, b""))
    assert "damaged" in reason(decode_rgba, png(5000, 5000, 8, 0, b""))  # its size is allowed


def test_large_files_are_refused_unread(tmp_path):
    path = tmp_path / "large.png"
    path.touch()
    os.truncate(path, 20_000_000)
    assert len(read_bytes(path)) == 20_000_000
    os.truncate(path, 21_000_000)
    assert reason(read_bytes, path) == "21.0 MB, the limit is 20 MB"


def test_long_text_in_a_png_does_no_harm_and_a_text_bomb_is_refused():
    pixel = zlib.compress(b"\0\1\2\3")
    long_text = png(1, 1, 8, 2, pixel, chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000))
    assert decode_rgba(long_text).tolist() == [[[1, 2, 3, 255]]]
    bomb = png(1, 1, 8, 2, pixel, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000))))
    assert "too large" in reason(decode_rgba, bomb)


# --- files that are not regular ---------------------------------------------------------------------------------------


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    program = "import sys; from contextual_gan.files.images import read_image; read_image(sys.argv[1])"
    process = subprocess.run([sys.executable, "-c", program, pipe], capture_output=True, text=True, timeout=30)
    assert process.stderr.endswith("ImageError: not a regular file\n")


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "."])
def test_links_to_devices_and_folders_are_refused(tmp_path, target):
    (tmp_path / "link.png").symlink_to(target)
    assert reason(read_image, tmp_path / "link.png") == "not a regular file"


def test_missing_files_and_broken_links_are_refused(tmp_path):
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert reason(read_image, tmp_path / "missing.png") == "No such file or directory"
    assert reason(read_image, tmp_path / "dangling.png") == "No such file or directory"
    assert "symbolic links" in reason(read_image, tmp_path / "loop.png")


def test_a_link_to_an_image_is_read(tmp_path):
    write_png(tmp_path / "real.png", noise())
    (tmp_path / "link.png").symlink_to("real.png")
    np.testing.assert_array_equal(read_image(tmp_path / "link.png"), noise())


# --- orientation ------------------------------------------------------------------------------------------------------

STORED = {  # EXIF orientation -> how a camera held that way stores the picture [[1, 2, 3], [4, 5, 6]]
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[3, 6], [2, 5], [1, 4]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[4, 1], [5, 2], [6, 3]],
}


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("scale", [np.uint8(1), np.uint16(257)], ids=["8bit", "16bit"])
def test_every_orientation_comes_out_upright(number, scale):
    data = encode(np.array(STORED[number], type(scale)) * scale, "PNG", exif=tiff(orientation(number)))
    np.testing.assert_array_equal(decode_rgba(data)[..., 0], [[1, 2, 3], [4, 5, 6]])


def test_a_jpeg_from_a_phone_held_upright_comes_out_upright():
    stored = np.zeros((16, 48, 3), np.uint8)
    stored[:, :16] = RED  # the camera stores the top of the picture on the left
    upright = on_background(decode_rgba(encode(stored, "JPEG", exif=tiff(orientation(6)))))
    assert upright.shape == (48, 16, 3)
    np.testing.assert_allclose(upright[8, 8], RED, atol=3)
    np.testing.assert_allclose(upright[40, 8], BLACK, atol=3)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0no such data", tiff(orientation(99)), tiff(orientation(6))[:20]])
def test_damaged_exif_data_does_not_prevent_reading(file_format, exif):
    whole = decode_rgba(encode(noise(), file_format))
    np.testing.assert_array_equal(decode_rgba(encode(noise(), file_format, exif=exif)), whole)


@pytest.mark.parametrize("odd", [(0x10F, 11, 1, struct.pack("<f", 1.5)), (0x128, 2, 3, b"cm"), (0x11A, 2, 2, b"?")])
def test_orientation_is_applied_despite_tags_of_the_wrong_type(odd):
    data = encode(np.uint8(STORED[6]), "PNG", exif=tiff(orientation(6), odd))
    np.testing.assert_array_equal(decode_rgba(data)[..., 0], [[1, 2, 3], [4, 5, 6]])


# --- kinds of pixels --------------------------------------------------------------------------------------------------


def palette(transparency=b""):
    colours = chunk(b"PLTE", bytes([*RED, *BLACK]))
    data = zlib.compress(b"\0\0\1")
    chunks = (colours, chunk(b"tRNS", transparency)) if transparency else (colours,)
    return png(2, 1, 8, 3, data, *chunks)


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (one_row_png(16, 0, [65535, 32896, 400, 256, 0]), [WHITE, (128, 128, 128), (2, 2, 2), (1, 1, 1), BLACK]),
        (one_row_png(16, 2, [65535, 32896, 0, 257, 514, 65535]), [(255, 128, 0), (1, 2, 255)]),
        (one_row_png(16, 4, [32896, 65535, 32896, 0]), [(128, 128, 128), WHITE]),
        (one_row_png(16, 6, [65535, 0, 0, 65535, 0, 0, 0, 0]), [RED, WHITE]),
        (one_row_png(16, 0, [300, 301], chunk(b"tRNS", struct.pack(">H", 300))), [WHITE, (1, 1, 1)]),
        (one_row_png(8, 0, [0, 77, 255]), [BLACK, (77, 77, 77), WHITE]),
        (one_row_png(8, 4, [0, 255, 0, 0, 200, 255]), [BLACK, WHITE, (200, 200, 200)]),
        (one_row_png(8, 2, [1, 2, 3, 4, 5, 6], chunk(b"tRNS", bytes([0, 4, 0, 5, 0, 6]))), [(1, 2, 3), WHITE]),
        (one_row_png(1, 0, [0b10100000]), [WHITE, BLACK, WHITE, BLACK, BLACK, BLACK, BLACK, BLACK]),
        (one_row_png(2, 0, [0b00011011]), [BLACK, (85, 85, 85), (170, 170, 170), WHITE]),
        (palette(), [RED, BLACK]),
        (palette(transparency=bytes([0, 255])), [WHITE, BLACK]),
    ],
    ids=[
        "grey16",
        "rgb16",
        "grey16+alpha",
        "rgb16+alpha",
        "grey16+transparent-value",
        "grey8",
        "grey8+alpha",
        "rgb8+transparent-colour",
        "bilevel",
        "grey2",
        "palette",
        "palette+transparency",
    ],
)
def test_every_kind_of_png_gives_its_colours_on_white(data, row, tmp_path):
    (tmp_path / "image.png").write_bytes(data)
    assert read_image(tmp_path / "image.png").tolist() == [[list(colour) for colour in row]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_black_strokes_on_transparency_are_black_on_white(mode, file_format, tmp_path):
    drawing = Image.new("RGBA", (16, 16))  # transparent black
    drawing.paste((0, 0, 0, 255), (4, 4, 12, 6))
    (tmp_path / "drawing").write_bytes(encode(drawing.convert(mode), file_format, lossless=True))
    expected = np.full((16, 16, 3), 255)
    expected[4:6, 4:12] = 0
    np.testing.assert_array_equal(read_image(tmp_path / "drawing"), expected)
    np.testing.assert_array_equal(read_rgba(tmp_path / "drawing")[..., 3], 255 - expected[..., 0])


@pytest.mark.parametrize(("level", "expected"), [(255, [0, 127, 255, 63]), (0, [0, 0, 0, 8])])
def test_transparency_is_blended_with_the_background_and_rounded(level, expected):
    rgba = np.uint8([[(0, 0, 0, 255), (0, 0, 0, 128), (0, 0, 0, 0), (10, 10, 10, 200)]])
    assert on_background(rgba, level)[0, :, 0].tolist() == expected


def test_opaque_pixels_do_not_change_on_a_background():
    ramp = np.arange(256, dtype=np.uint8)
    rgba = np.stack([ramp, ramp, ramp, np.full(256, 255, np.uint8)], axis=-1)[None]
    np.testing.assert_array_equal(on_background(rgba), rgba[..., :3])


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [((0, 255, 255, 0), RED), ((0, 0, 0, 255), BLACK), ((0, 0, 0, 0), WHITE), ((255, 0, 0, 0), (0, 255, 255))],
)
def test_cmyk_jpegs_give_their_colours(cmyk, rgb):
    data = encode(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=95)
    np.testing.assert_allclose(on_background(decode_rgba(data))[8, 8], rgb, atol=3)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_bitmaps_of_every_depth_are_read(mode):
    drawing = Image.new("L", (10, 6), 255)
    drawing.paste(0, (2, 1, 4, 5))
    data = encode(drawing.convert(mode), "BMP")
    np.testing.assert_array_equal(on_background(decode_rgba(data)), np.asarray(drawing.convert("RGB")))


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_a_written_image_is_read_back_exactly(tmp_path, shape):
    image = noise(5, 7).reshape(-1)[: np.prod(shape)].reshape(shape)
    write_png(tmp_path / "new" / "folder" / "image.png", image)
    back = read_image(tmp_path / "new" / "folder" / "image.png")
    np.testing.assert_array_equal(back, image if len(shape) == 3 else np.repeat(image[..., None], 3, axis=2))
    assert os.listdir(tmp_path / "new" / "folder") == ["image.png"]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, bool, np.int64])
def test_only_uint8_is_written(tmp_path, dtype):
    with pytest.raises(TypeError, match="uint8"):
        write_png(tmp_path / "image.png", np.zeros((4, 4, 3), dtype))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("failure", [OSError("disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_replace_leaves_everything_as_it_was(tmp_path, monkeypatch, failure, existing):
    def fail(*args):
        raise failure

    target = tmp_path / "image.png"
    if existing:
        target.write_bytes(b"as it was")
    monkeypatch.setattr(images.os, "replace", fail)
    with pytest.raises(type(failure)):
        write_png(target, noise())
    assert os.listdir(tmp_path) == ["image.png"] * existing
    assert not existing or target.read_bytes() == b"as it was"


FULL_DISK = """
import resource, sys
import numpy as np
from contextual_gan.files.images import write_png
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for name in sys.argv[1:]:
    try:
        write_png(name, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    except OSError as error:
        print(error.strerror)
"""


def test_a_full_disk_leaves_no_partial_file_and_keeps_the_old_one(tmp_path):
    (tmp_path / "old.png").write_bytes(b"as it was")
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "old.png", tmp_path / "new.png"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.stdout == "File too large\n" * 2, process.stderr
    assert os.listdir(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"as it was"


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_to_float_and_to_uint8_are_inverse_on_every_value():
    values = np.arange(256, dtype=np.uint8)
    floats = to_float(values)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[255] == 1
    back = to_uint8(floats)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, values)


def test_to_uint8_rounds_and_clips():
    assert to_uint8([-7.0, -1.001, -0.998, 0.0, 0.999, 1.5, np.inf, -np.inf]).tolist() == [
        0,
        0,
        0,
        128,
        255,
        255,
        255,
        0,
    ]


@pytest.mark.parametrize("axis", [0, 1], ids=["tall", "wide"])
def test_centre_square_takes_the_middle(axis):
    thirds = np.repeat(np.uint8([RED, (0, 255, 0), (0, 0, 255)]), 30, axis=0)  # 90 pixels
    image = np.broadcast_to(thirds[:, None] if axis == 0 else thirds[None], (90, 30, 3) if axis == 0 else (30, 90, 3))
    assert (centre_square(image, 16) == (0, 255, 0)).all()


def test_centre_square_averages_areas_when_it_shrinks():
    dots = np.zeros((32, 32, 3), np.uint8)
    dots[::4, ::4] = 160  # one pixel of 16
    np.testing.assert_array_equal(centre_square(dots, 8), np.full((8, 8, 3), 10))


def test_centre_square_enlarges_small_images_and_keeps_matching_ones():
    np.testing.assert_array_equal(centre_square(noise(8, 8), 8), noise(8, 8))
    np.testing.assert_array_equal(centre_square(np.full((3, 2, 3), 90, np.uint8), 64), np.full((64, 64, 3), 90))


def test_enlarge_multiplies_the_sides():
    halves = np.repeat(np.uint8([[BLACK, BLACK, WHITE, WHITE]]), 2, axis=0)
    large = enlarge(halves, 3)
    assert large.shape == (6, 12, 3)
    assert large[:, :2].max() == 0 and large[:, -2:].min() == 255


def test_framed_draws_inside_the_border_of_a_copy():
    image = np.zeros((20, 30, 3), np.uint8)
    out = framed(image, colour=RED, width=2)
    assert (out == RED).all(axis=-1).sum() == 20 * 30 - 16 * 26
    assert not out[2:-2, 2:-2].any() and not image.any()


def cell(width, level):
    return np.full((10, width, 3), level, np.uint8)


def test_grid_lays_out_cells_on_white():
    picture = grid([[cell(20, 10), cell(30, 20)], [None, cell(25, 30)]])
    assert picture.shape == (6 + 2 * (10 + 6), 6 + 20 + 6 + 30 + 6, 3) and picture.dtype == np.uint8
    expected = np.full_like(picture, 255)
    expected[6:16, 6:26] = 10
    expected[6:16, 32:62] = 20
    expected[22:32, 32:57] = 30
    np.testing.assert_array_equal(picture, expected)


def test_grid_writes_titles_above_columns_and_labels_above_rows():
    rows = [[cell(80, 200), cell(80, 200)], [cell(80, 200), cell(80, 200)]]
    plain, picture = grid(rows), grid(rows, titles=["input"], labels=["", "b.png"])
    assert picture.shape == (plain.shape[0] + 24 + 2 * 18, plain.shape[1], 3)
    ink = picture.min(axis=-1) < 128
    assert ink[:30, :92].any() and not ink[:30, 92:].any()  # a title over the first column, none over the second
    assert not ink[30:48].any() and ink[64:82].any()  # no label over the first row, one over the second
    assert (picture[48:58, 6:86] == 200).all() and (picture[82:92, 92:172] == 200).all()


def test_grid_cuts_neither_titles_nor_labels_off():
    narrow = [[cell(20, 200), None], [cell(20, 200), None]]
    picture = grid(narrow, titles=["initial G(z)", "ground truth"], labels=["a long name of a file " * 20, "b"])
    ink = picture.min(axis=-1) < 160
    assert ink[:24].any(axis=0).nonzero()[0].max() < picture.shape[1] - 1  # there is paper beside the last letter
    between = grid([[cell(20, 200)]], titles=["initial G(z)"]).shape[1]
    assert ink[:24, between - 3 : between].sum() == 0 and ink[:24, between:].any()  # and between both titles
    assert not ink[:, -3:].any() and ink[24:42].any()


def test_grid_refuses_rows_of_different_lengths():
    with pytest.raises(ValueError):
        grid([[cell(20, 0), cell(20, 0)], [cell(20, 0)]])


# --- small files that take long to decode -----------------------------------------------------------------------------


def progressive(scans):
    """A progressive JPEG of 64 pixels with `scans` scans, made by repeating the last one."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    more = scans - data.count(b"\xff\xda")
    return data[:last] + data[last:-2] * (1 + more) + data[-2:]


def test_a_progressive_jpeg_with_too_many_scans_is_refused_before_it_is_decoded():
    assert decode_rgba(progressive(100)).shape == (64, 64, 4)
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode_rgba(progressive(101))
    photo = decode_rgba(progressive(50)[:2] + b"\xff\xfe\x01\x02" + b"\xff\xda" * 128 + progressive(50)[2:])
    assert np.array_equal(photo, decode_rgba(progressive(50))), "a comment does not count as a scan"
    assert decode_rgba(progressive(50) + b"\xff\xda" * 1000).shape == (64, 64, 4), "nor do bytes after the picture"


@pytest.mark.parametrize("filler", [b"\xff\xfe\0\2" * 200_000, b"\xff" * 19_000_000])
def test_a_jpeg_with_too_many_segments_is_refused(filler):
    data = progressive(20)
    with pytest.raises(ImageError, match="segments, not a normal image"):
        decode_rgba(data[:2] + filler + data[2:])


def test_a_png_with_too_many_chunks_is_refused():
    data = images.encode_png(np.zeros((8, 8, 3), np.uint8))
    chunk = b"\0\0\0\0teSt" + zlib.crc32(b"teSt").to_bytes(4)
    assert decode_rgba(data[:33] + chunk * 1000 + data[33:]).shape == (8, 8, 4)
    with pytest.raises(ImageError, match="chunks, not a normal image"):
        decode_rgba(data[:33] + chunk * 200_000 + data[33:])


def test_a_gif_of_comments_or_tiny_blocks_alone_is_refused():
    data = encode(Image.new("P", (8, 8)), "GIF")
    picture = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    comment = b"\x21\xfe" + (b"\xff" + bytes(255)) * 100 + b"\0"
    assert decode_rgba(data[:picture] + comment + data[picture:]).shape == (8, 8, 4)
    assert "comments" in reason(decode_rgba, data[:picture] + comment * 700 + data[picture:])
    assert "blocks" in reason(decode_rgba, data[: picture + 11] + b"\1\0" * 1_100_000)


def test_a_tiff_with_tiles_far_larger_than_its_picture_is_refused():
    data = bytearray(encode(noise(), "TIFF", tiffinfo={65000: 30000, 65001: 30000}))
    for other, tag in ((65000, 322), (65001, 323)):  # TileWidth, TileLength
        struct.pack_into("<H", data, data.rindex(struct.pack("<H", other)), tag)
    assert "tiles of 30000 x 30000 pixels, but the image has 16 x 12" in reason(decode_rgba, bytes(data))


# --- large photos -----------------------------------------------------------------------------------------------------


def large_jpeg(width, height, **options):
    """An even grey JPEG of this size."""
    return encode(Image.new("L", (width, height), 120), "JPEG", **options)


def test_a_large_jpeg_is_reduced_while_it_is_decoded(tmp_path):
    picture = decode_rgba(large_jpeg(6000, 5000))
    assert picture.shape == (2500, 3000, 4) and (picture[..., :3] == 120).all()
    assert decode_rgba(large_jpeg(5000, 5000)).shape == (5000, 5000, 4)  # images within the limit are not reduced
    assert decode_rgba(large_jpeg(6000, 5000), enough=700).shape == (625, 750, 4)


def test_a_jpeg_of_more_than_200_megapixels_is_refused():
    data = bytearray(large_jpeg(64, 64))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 20000, 10001)
    assert reason(decode_rgba, bytes(data)) == "10001 x 20000 pixels, the limit is 200 megapixels for a JPEG"


def test_a_progressive_jpeg_that_would_take_gigabytes_is_refused_undecoded(monkeypatch):
    data = bytearray(encode(Image.new("CMYK", (64, 64)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1] = 0xC2  # progressive
    refuse_to_decode(monkeypatch)
    for side, claim in ((13000, "1.4 GB"), (14100, "1.6 GB")):
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
        assert f"progressive: decoding would take {claim}" in reason(decode_rgba, bytes(data))


def test_jpegs_may_have_60_mb_and_other_files_20(tmp_path):
    path = tmp_path / "large"
    for start, limit in ((b"\xff\xd8\xff", 60), (b"\x89PNG", 20), (b"II*\0", 20)):
        path.write_bytes(start)
        os.truncate(path, limit * 10**6)
        assert len(images.read_image_bytes(path)) == limit * 10**6
        os.truncate(path, limit * 10**6 + 10**6)
        assert reason(images.read_image_bytes, path) == f"{limit + 1}.0 MB, the limit is {limit} MB"
