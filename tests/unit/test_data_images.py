"""Every kind of image file and batch becomes the picture a person would see, or is refused by name."""

import hashlib
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin, features

from domain_guidance.data import BatchImages, FolderImages, ImageError, Skipped, UnreadableImage, because, read_image
from domain_guidance.data import images as images_module
from domain_guidance.data.png_metadata import WithoutMetadata

RED, GREEN, BLUE, WHITE, BLACK = (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1), (-1, -1, -1)


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def corners(image):
    """The four corner colours: upper left, upper right, lower left, lower right."""
    return [tuple(image[:, y, x].tolist()) for y in (0, -1) for x in (0, -1)]


def quarters(width=16, height=12):
    """Red, green over blue, white."""
    picture = Image.new("RGB", (width, height), "white")
    picture.paste("red", (0, 0, width // 2, height // 2))
    picture.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    picture.paste("blue", (0, height // 2, width // 2, height))
    return picture


def close(colours, expected, tolerance=0.03):
    torch.testing.assert_close(
        torch.tensor(colours), torch.tensor(expected, dtype=torch.float32), atol=tolerance, rtol=0
    )


@pytest.mark.parametrize(
    "name, options",
    [
        ("x.png", {}),
        ("x.bmp", {}),
        ("x.tif", {}),
        ("x.tiff", {"compression": "tiff_lzw"}),
        ("x.webp", {"lossless": True}),
        ("x.jpg", {"quality": 100, "subsampling": 0}),
        ("x.jpeg", {"quality": 100, "subsampling": 0, "progressive": True}),
        ("x.jfif", {"quality": 100, "subsampling": 0}),
        ("x.jpe", {"quality": 100, "subsampling": 0}),
        ("x.apng", {}),
        ("x.gif", {}),
        pytest.param("x.avif", {"quality": 100}, marks=needs_avif),
    ],
)
def test_every_format_gives_the_picture_in_minus_one_to_one(tmp_path, name, options):
    quarters().save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert image.shape == (3, 12, 16) and image.dtype == torch.float32 and image.is_contiguous()
    close(corners(image), [RED, GREEN, BLUE, WHITE])


# EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored picture belong in the upright one.
UPRIGHT = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_stands_upright_as_its_exif_says(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(name[1:], {})
    quarters().save(tmp_path / name, exif=exif, **options)
    image = read_image(tmp_path / name)
    assert image.shape == ((3, 12, 16) if orientation < 5 else (3, 16, 12))
    close(corners(image), UPRIGHT[orientation])


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.tif"])
def test_transparency_is_laid_over_white(tmp_path, name):
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    picture.putpixel((3, 0), (255, 0, 0, 0))
    picture.putpixel((0, 3), (0, 0, 0, 51))  # a fifth of black over white
    picture.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "x.webp" else {}))
    close(corners(read_image(tmp_path / name)), [RED, WHITE, (0.6, 0.6, 0.6), RED], 1e-6)


def test_grey_with_transparency_is_laid_over_white(tmp_path):
    picture = Image.new("LA", (2, 2), (0, 255))
    picture.putpixel((1, 1), (0, 0))
    picture.save(tmp_path / "x.png")
    close(corners(read_image(tmp_path / "x.png")), [BLACK, BLACK, BLACK, WHITE], 1e-6)


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_gives_its_colours_and_its_transparent_entry_white(tmp_path, transparent):
    picture = Image.new("P", (2, 2))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0])
    for place, entry in zip([(0, 0), (1, 0), (0, 1), (1, 1)], range(4)):
        picture.putpixel(place, entry)
    picture.save(tmp_path / "x.png", **({"transparency": 1} if transparent else {}))
    close(corners(read_image(tmp_path / "x.png")), [RED, WHITE if transparent else GREEN, BLUE, BLACK], 1e-6)


def test_the_one_transparent_colour_of_an_rgb_png_is_white(tmp_path):
    quarters().save(tmp_path / "x.png", transparency=(0, 0, 255))
    close(corners(read_image(tmp_path / "x.png")), [RED, GREEN, WHITE, WHITE], 1e-6)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bit_grey_keeps_its_sixteen_bits(tmp_path, name):
    levels = np.array([[0, 1], [32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    expected = torch.from_numpy(levels.astype(np.float64) / 65535 * 2 - 1).float().expand(3, 2, 2)
    image = read_image(tmp_path / name)
    torch.testing.assert_close(image, expected, atol=1e-6, rtol=0)
    assert image[0, 0, 1] > image[0, 0, 0]


def write_tiff(path, data, *, bits=16, photometric=1, order=">"):
    """A grey picture of two columns and one row."""
    entries = [
        (256, 3, 2),
        (257, 3, 1),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 122),
        (277, 3, 1),
        (278, 3, 1),
        (279, 4, len(data)),
    ]
    fields = b""
    for tag, kind, value in entries:
        fields += struct.pack(f"{order}HHI", tag, kind, 1) + (
            struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        )
    directory = struct.pack(f"{order}H", len(entries)) + fields + struct.pack(f"{order}I", 0)
    assert 8 + len(directory) == 122
    head = b"MM\0*" if order == ">" else b"II*\0"
    path.write_bytes(head + struct.pack(f"{order}I", 8) + directory + data)


def test_big_endian_sixteen_bit_tiff_is_read_as_what_it_shows(tmp_path):
    write_tiff(tmp_path / "x.tif", struct.pack(">HH", 256, 65535))
    close(read_image(tmp_path / "x.tif")[0, 0].tolist(), [256 / 65535 * 2 - 1, 1.0], 1e-6)


def test_a_sixteen_bit_tiff_whose_white_is_zero_is_not_read_as_its_negative(tmp_path):
    write_tiff(tmp_path / "x.tif", struct.pack("<HH", 0, 60000), photometric=0, order="<")
    close(read_image(tmp_path / "x.tif")[0, 0].tolist(), [1.0, 5535 / 65535 * 2 - 1], 1e-6)


def test_a_twelve_bit_tiff_is_as_bright_as_its_twelve_bits_say(tmp_path):
    write_tiff(tmp_path / "x.tif", bytes([0xFF, 0xF4, 0x00]), bits=12, order="<")  # 4095 and 1024
    close(read_image(tmp_path / "x.tif")[0, 0].tolist(), [1.0, 1024 / 4095 * 2 - 1], 1e-6)


@pytest.mark.parametrize("options", [{"bits": 12}, {"photometric": 0}])
def test_a_tiff_that_was_read_otherwise_before_has_another_key_and_others_keep_theirs(tmp_path, options):
    write_tiff(tmp_path / "a.tif", bytes(4), order="<", **options)
    write_tiff(tmp_path / "b.tif", bytes(4), order="<")
    source = FolderImages(tmp_path)
    plain = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.tif", "b.tif")]
    assert source.content_key(0) != plain[0] and source.content_key(1) == plain[1]


def test_a_tiff_too_large_to_be_opened_still_has_a_key(tmp_path, monkeypatch):
    write_tiff(tmp_path / "a.tif", bytes(4))
    key = FolderImages(tmp_path).content_key(0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 0.5)
    assert FolderImages(tmp_path).content_key(0) == key


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bit_grey_that_uses_twelve_bits_is_said_and_brighter_is_not(tmp_path, name):
    for highest in (4095, 4096):
        Image.fromarray(np.array([[0, highest]], dtype=np.uint16)).save(tmp_path / name)
        assert ("almost black" in FolderImages(tmp_path).remark(0)) == (highest == 4095)


def test_the_transparent_level_of_sixteen_bit_grey_is_white(tmp_path):
    Image.fromarray(np.array([[7, 8]], dtype=np.uint16)).save(tmp_path / "x.png", transparency=7)
    close(read_image(tmp_path / "x.png")[0, 0].tolist(), [1.0, 8 / 65535 * 2 - 1], 1e-6)


def test_sixteen_bit_colour_is_read_to_eight_bits(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 0, 65535, 32768)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(data)
    close(corners(read_image(tmp_path / "x.png"))[:2], [(1, 0, -1), (-1, 1, 0)], 2 / 255)


def test_black_and_white_and_grey_give_three_equal_channels(tmp_path):
    for mode in ("1", "L"):
        picture = Image.new(mode, (2, 2), 0)
        picture.putpixel((1, 0), 255)
        picture.save(tmp_path / "x.png")
        close(corners(read_image(tmp_path / "x.png")), [BLACK, WHITE, BLACK, BLACK], 1e-6)


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk_gives_the_colours_of_the_print_and_not_their_negative(tmp_path, name):
    quarters().convert("CMYK").save(tmp_path / name, **({"quality": 100} if name == "x.jpg" else {}))
    close(corners(read_image(tmp_path / name)), [RED, GREEN, BLUE, WHITE], 0.1)


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.tif"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, name):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    options = {"lossless": True} if name == "x.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=[second], **options)
    with Image.open(tmp_path / name) as saved:
        assert saved.n_frames == 2
    close(corners(read_image(tmp_path / name)), [RED] * 4, 1e-6)


def test_a_phones_multi_picture_jpeg_is_read(tmp_path):
    quarters().save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[quarters()], quality=100)
    close(corners(read_image(tmp_path / "x.jpg")), [RED, GREEN, BLUE, WHITE], 0.1)


def refusal(path, kind=ImageError):
    with warnings.catch_warnings(), pytest.raises(ImageError) as caught:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        read_image(path)
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    return str(caught.value)


def bomb(path, width, height):
    """A bitmap whose header promises more than the file holds."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info)


def test_a_decompression_bomb_is_refused_by_name_and_not_decoded(tmp_path, monkeypatch):
    bomb(tmp_path / "x.bmp", 60_000, 60_000)
    assert "too large" in refusal(tmp_path / "x.bmp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some hosts do
    assert "60000x60000 is 3600 megapixels, the limit is 89" in refusal(tmp_path / "x.bmp")
    bomb(tmp_path / "x.bmp", 10_000, 10_000)
    assert "100 megapixels" in refusal(tmp_path / "x.bmp")


def test_a_warning_made_an_error_by_the_host_is_still_a_named_refusal(tmp_path):
    bomb(tmp_path / "x.bmp", 10_000, 10_000)
    with warnings.catch_warnings(), pytest.raises(ImageError, match="too large"):
        warnings.simplefilter("error")
        read_image(tmp_path / "x.bmp")


def test_a_file_that_is_no_image_and_a_format_nobody_asked_for_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    quarters().save(tmp_path / "x.ppm")
    os.replace(tmp_path / "x.ppm", tmp_path / "ppm.png")
    # An EPS would start a PostScript interpreter if it reached its decoder.
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    for name in ("text.png", "empty.png", "ppm.png", "eps.png"):
        assert "not a JPEG, PNG, WebP, BMP, TIFF, GIF" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tif"])
def test_a_truncated_file_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tif"])
def test_whatever_damage_a_file_has_it_is_a_picture_or_a_refusal(tmp_path, name):
    random = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    quarters().save(tmp_path / name, **({} if name == "x.bmp" else {"exif": exif}))
    whole = np.frombuffer((tmp_path / name).read_bytes(), dtype=np.uint8)
    refused = 0
    for _ in range(60):
        damaged = whole[: random.integers(1, len(whole) + 1)].copy()
        places = random.integers(0, min(len(damaged), 300), 4)
        damaged[places] = random.integers(0, 256, 4)
        (tmp_path / name).write_bytes(damaged.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert torch.isfinite(read_image(tmp_path / name)).all()
            except ImageError:
                refused += 1
    assert refused > 10


def test_grey_levels_without_an_agreed_range_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "x.tif")
    assert "floating-point" in refusal(tmp_path / "x.tif")
    Image.fromarray(np.full((2, 2), 70_000, dtype=np.int32)).save(tmp_path / "x.tif")
    assert "70000" in refusal(tmp_path / "x.tif")


def test_a_file_that_cannot_be_opened_is_told_from_one_that_is_broken(tmp_path):
    assert "No such file" in refusal(tmp_path / "gone.png", UnreadableImage)
    (tmp_path / "folder.png").mkdir()
    refusal(tmp_path / "folder.png", UnreadableImage)


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        quarters().save(folder / name)


def test_a_folder_is_searched_to_the_bottom_in_one_stable_order(tmp_path):
    fill(tmp_path, "b.png", "A.JPG", "sub/deep/c.webp", "sub/d.tiff", "e.jpeg", ".hidden.png", ".trash/f.png")
    (tmp_path / "notes.txt").write_text("no image")
    source = FolderImages(tmp_path)
    assert [source.name(i) for i in range(len(source))] == ["A.JPG", "b.png", "e.jpeg", "sub/d.tiff", "sub/deep/c.webp"]
    assert source.load(1).shape == (3, 12, 16)


def test_whatever_a_folder_has_beside_images_is_counted_and_named_with_its_reason(tmp_path):
    fill(tmp_path / "dataset", "a.png", "b.jfif", ".c.png", ".trash/d.png")
    fill(tmp_path / "elsewhere", "e.png")
    (tmp_path / "dataset" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dataset" / "f.png").symlink_to(tmp_path / "elsewhere" / "e.png")
    for name in ("a.txt", "g.psd"):
        (tmp_path / "dataset" / name).write_text("no image")
    os.mkfifo(tmp_path / "dataset" / "pipe.png")
    source = FolderImages(tmp_path / "dataset")
    assert [source.name(i) for i in range(len(source))] == ["a.png", "b.jfif", "f.png"]
    reasons = {one.name: one.reason for one in source.left_out}
    assert sorted(reasons) == [".c.png", ".trash", "a.txt", "g.psd", "linked", "pipe.png"]
    assert "hidden" in reasons[".c.png"] and "hidden" in reasons[".trash"]
    assert "not of a kind that is read" in reasons["g.psd"] and "link to a folder" in reasons["linked"]
    assert reasons["pipe.png"] == "it is neither a file nor a folder"
    said = because(source.left_out)
    assert "'a.txt' and 'g.psd', each because it is not of a kind" in said and "'linked' because" in said


def test_a_thousand_captions_are_counted_and_not_listed():
    said = because([Skipped(f"{i}.txt", "it is a text") for i in range(1000)])
    assert said.startswith("'0.txt', '1.txt', ") and said.endswith("and 980 more, each because it is a text")


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.gif", pytest.param("x.avif", marks=needs_avif)])
def test_an_animation_is_used_with_a_remark_and_a_still_or_a_document_without(tmp_path, name):
    still, other = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    for folder in ("still", "film", "pages"):
        (tmp_path / folder).mkdir()
    still.save(tmp_path / "still" / name)
    still.save(tmp_path / "film" / name, save_all=True, append_images=[other])
    still.save(tmp_path / "pages" / "x.tif", save_all=True, append_images=[other])
    film = FolderImages(tmp_path / "film")
    close(corners(film.load(0)), [RED] * 4, 0.05)
    assert film.remark(0) == "Only the first picture of an animation is used"
    assert FolderImages(tmp_path / "still").remark(0) == FolderImages(tmp_path / "pages").remark(0) == ""


def text_chunks(size, compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * size, zip=compressed)
    return info


@pytest.mark.parametrize("size, compressed", [(3 << 20, True), (70 << 20, False)], ids=["compressed", "plain"])
def test_a_picture_that_carries_a_large_workflow_is_read(tmp_path, size, compressed):
    exif = Image.Exif()
    exif[0x0112] = 3
    quarters().save(tmp_path / "x.png", pnginfo=text_chunks(size, compressed), exif=exif)
    with pytest.raises(ValueError), Image.open(tmp_path / "x.png") as plain:
        plain.load()
    close(corners(read_image(tmp_path / "x.png")), UPRIGHT[3], 1e-6)


def test_a_picture_with_a_large_colour_profile_is_read(tmp_path):
    quarters().save(tmp_path / "x.png", icc_profile=bytes(3 << 20))
    with pytest.raises(ValueError):
        Image.open(tmp_path / "x.png")
    close(corners(read_image(tmp_path / "x.png")), [RED, GREEN, BLUE, WHITE], 1e-6)


def with_chunk(path, kind, data, good_checksum=True):
    """A chunk put in front of the pixels of a PNG."""
    whole = path.read_bytes()
    place = whole.index(b"IDAT") - 4
    checksum = zlib.crc32(kind + data) ^ (not good_checksum)
    path.write_bytes(
        whole[:place] + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum) + whole[place:]
    )


@pytest.mark.parametrize(
    "kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL"]
)
def test_damaged_metadata_costs_no_picture(tmp_path, kind):
    for data in (b"", b"\0", b"x\0\0broken", bytes(40)):
        for good in (True, False):
            quarters().save(tmp_path / "x.png")
            with_chunk(tmp_path / "x.png", kind, data, good)
            close(corners(read_image(tmp_path / "x.png")), [RED, GREEN, BLUE, WHITE], 1e-6)


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of the damage
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp"])
def test_damaged_exif_costs_no_picture(tmp_path, name):
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x9286] = "comment"
    whole = exif.tobytes()
    head = len(b"Exif\0\0")
    for _ in range(40):
        body = bytearray(whole[head : random.integers(head, len(whole) + 1)])
        for place in random.integers(0, len(body) + 1, 3):
            body[place : place + 1] = bytes([random.integers(0, 256)])
        quarters().save(tmp_path / name, exif=whole[:head] + bytes(body), quality=100)
        assert read_image(tmp_path / name).shape[0] == 3


def test_metadata_is_passed_over_without_being_read(tmp_path):
    quarters().save(tmp_path / "x.png", pnginfo=text_chunks(5 << 20, False))
    with open(tmp_path / "x.png", "rb") as file:
        bare = WithoutMetadata(file).read()
        with_chunk(tmp_path / "x.png", b"tEXt", b"another")
        assert WithoutMetadata(file).read() == bare
    assert len(bare) < 1000 and b"workflow" not in bare
    (tmp_path / "bare.png").write_bytes(bare)
    assert torch.equal(read_image(tmp_path / "bare.png"), read_image(tmp_path / "x.png"))


def test_listing_a_folder_reads_no_file(tmp_path, monkeypatch):
    (tmp_path / "broken.png").write_text("no picture")
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: pytest.fail("a file was opened"))
    assert len(FolderImages(tmp_path)) == 1


def test_a_link_that_leads_to_itself_or_into_a_file_is_left_out_with_its_reason(tmp_path):
    quarters().save(tmp_path / "a.png")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    (tmp_path / "into.png").symlink_to(tmp_path / "a.png" / "b.png")
    source = FolderImages(tmp_path)
    assert [source.name(place) for place in range(len(source))] == ["a.png"]
    assert sorted(one.name for one in source.left_out) == ["into.png", "itself.png"]
    assert all("it cannot be looked at (" in one.reason for one in source.left_out)


def test_a_link_that_leads_back_up_is_not_followed(tmp_path):
    fill(tmp_path, "a/x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere.png").symlink_to(tmp_path / "missing.png")
    source = FolderImages(tmp_path)
    assert [source.name(i) for i in range(len(source))] == ["a/nowhere.png", "a/x.png"]
    with pytest.raises(UnreadableImage):
        source.load(0)
    with pytest.raises(UnreadableImage):
        source.content_key(0)


def test_content_decides_the_key_and_size_and_time_the_stamp(tmp_path):
    fill(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    quarters(20, 20).save(tmp_path / "c.png")
    source = FolderImages(tmp_path)
    keys = [source.content_key(i) for i in range(3)]
    assert keys[0] == keys[1] != keys[2] and all(int(key, 16) for key in keys)
    before = source.stamp(0)
    assert FolderImages(tmp_path).stamp(0) == before != source.stamp(1)
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert FolderImages(tmp_path).stamp(0) != before and source.content_key(0) == keys[0]


def test_a_folder_without_images_or_none_at_all_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(
        ValueError, match=r"holds no images \(there is 'notes.txt' because .*\): put files of these kinds"
    ):
        FolderImages(tmp_path)
    with pytest.raises(ValueError, match="There is no image folder"):
        FolderImages(tmp_path / "missing")
    with pytest.raises(ValueError, match="There is no image folder"):
        FolderImages(tmp_path / "notes.txt")


def test_a_batch_is_a_source_as_a_folder_is():
    batch = torch.rand(3, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    source = BatchImages(batch)
    assert len(source) == 3 and source.name(0) == "image 1 of the batch"
    torch.testing.assert_close(source.load(2), batch[2].permute(2, 0, 1) * 2 - 1)
    assert source.content_key(0) == BatchImages(batch[:1].clone()).content_key(0) != source.content_key(1)
    assert source.content_key(0) != BatchImages(batch[:1].reshape(1, 7, 5, 3)).content_key(0), "shape is content"
    assert source.stamp(0) == source.stamp(0) != source.stamp(1)


def test_several_batches_of_different_sizes_are_one_source():
    wide, tall = torch.rand(2, 4, 9, 3), torch.rand(1, 8, 3, 3)
    source = BatchImages([wide, tall])
    assert [source.load(i).shape[1:] for i in range(len(source))] == [(4, 9), (4, 9), (8, 3)]
    assert source.content_key(2) == BatchImages(tall).content_key(0)
    with pytest.raises(ValueError, match=r"expected \[batch, height, width, 3\]"):
        BatchImages([wide, tall[0]])


def test_a_batch_made_in_inference_mode_gives_images_that_training_can_use():
    with torch.inference_mode():
        batch = torch.rand(1, 4, 4, 3)
    image = BatchImages(batch).load(0)
    weight = torch.ones((), requires_grad=True)
    (image * weight).sum().backward()
    assert weight.grad is not None and BatchImages(batch).content_key(0)


def test_a_batch_with_transparency_is_laid_over_white_and_values_are_clipped():
    pixel = torch.tensor([0.0, 2.0, -1.0, 0.25]).expand(1, 1, 1, 4)
    assert BatchImages(pixel).load(0).flatten().tolist() == pytest.approx([0.5, 1.0, 0.5])


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(4, 4, 3),
        torch.zeros(1, 3, 8, 8),
        torch.zeros(0, 4, 4, 3),
        torch.zeros(1, 4, 4, 3, dtype=torch.uint8),
    ],
)
def test_a_tensor_that_is_no_image_batch_is_refused_in_one_sentence(wrong):
    with pytest.raises(ValueError, match=r"expected \[batch, height, width, 3\].*connect an IMAGE\.$"):
        BatchImages(wrong)


def test_a_picture_with_nan_is_refused():
    with pytest.raises(ImageError, match="NaN"):
        BatchImages(torch.full((1, 2, 2, 3), torch.nan)).load(0)


def test_the_formats_read_are_those_that_are_searched_for():
    known = {extension for extension, kind in Image.registered_extensions().items() if kind in images_module.FORMATS}
    assert known >= images_module.EXTENSIONS
