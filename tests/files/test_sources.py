"""The images of a folder and the names of their results: none is lost, none occurs twice, none depends on chance."""

import os
import tracemalloc
import zipfile

import pytest

from contextual_gan.files.archives import Member
from contextual_gan.files.images import ImageError
from contextual_gan.files.sources import find_images, images_in, output_stems
from contextual_gan.terminal import print_postponed

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
WEBP = b"RIFF\x1e\0\0\0WEBPVP8L" + bytes(20)
BMP = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0" + bytes(20)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, *names, data=PNG):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def stems(*inputs, out="out"):
    """{output stem: input as given}; no input may be lost."""
    sources, *_ = find_images(inputs, excluded=out)
    named = output_stems(sources)
    assert len(named) == len(sources)
    return {stem: source.name for stem, source in named.items()}


# --- which files ------------------------------------------------------------------------------------------------------


def test_folders_are_searched_recursively(working_folder):
    write(working_folder, "in/a.png", "in/deep/b.jpg", "in/deep/deeper/c.webp")
    assert stems("in") == {"a": "in/a.png", "deep/b": "in/deep/b.jpg", "deep/deeper/c": "in/deep/deeper/c.webp"}


def test_hidden_files_and_folders_are_left_out_unless_given(working_folder):
    write(working_folder, "in/a.png", "in/.b.png", "in/.thumbnails/c.png")
    assert find_images(["in"], "out")[1:] == ([], [])
    assert stems("in") == {"a": "in/a.png"}
    assert stems("in/.thumbnails") == {"c": "in/.thumbnails/c.png"}
    assert stems("in/.b.png") == {".b": "in/.b.png"}


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP, BMP])
@pytest.mark.parametrize("name", ["face", "face.dat", "face.txt", "face.PnG.bak"])
def test_images_are_found_by_content_regardless_of_their_name(working_folder, name, data):
    write(working_folder / "in", name, data=data)
    assert list(stems("in").values()) == [f"in/{name}"]


@pytest.mark.parametrize("name", ["a.PNG", "b.JPeG", "c.gif", "d.tif", "e.heic"])
def test_files_with_image_extensions_are_taken_regardless_of_content(working_folder, name):
    write(working_folder / "in", name, data=b"text")
    assert list(stems("in").values()) == [f"in/{name}"]


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"BMW, Opel and other cars\n", b"BM", b"RIFF\x24\x08\0\0WAVEfmt ", b"RIFF\0\0\0\0AVI LIST", PNG[1:]],
)
def test_other_files_are_ignored_and_listed(working_folder, data):
    write(working_folder / "in", "a.png")
    write(working_folder / "in", "notes", "deep/notes.txt", data=data)
    sources, refused, passed = find_images(["in"], "out")
    assert [source.name for source in sources] == ["in/a.png"] and refused == []
    assert [str(path) for path, _ in passed] == ["in/notes", "in/deep/notes.txt"]
    assert {kind for _, kind in passed} == {"other file"}


def test_a_file_given_by_name_is_always_taken(working_folder):
    write(working_folder, "notes.txt", data=b"text")
    assert stems("notes.txt") == {"notes": "notes.txt"}


def test_the_output_folder_inside_the_input_is_left_out(working_folder):
    write(working_folder, "in/a.png", "in/out/a_photo.png", "in/out/deep/b_photo.png", "in/outside/c.png")
    assert stems("in", out="in/out") == {"a": "in/a.png", "outside/c": "in/outside/c.png"}
    assert stems("in", out=working_folder / "in" / "out") == stems("in", out="in/out")
    (working_folder / "link").symlink_to("in/out")
    assert stems("in", out="link") == stems("in", out="in/out")
    (working_folder / "alias").symlink_to("in")
    assert list(stems("alias", out="in/out")) == ["a", "outside/c"]


def test_a_missing_input_is_named(working_folder):
    write(working_folder, "in/a.png")
    with pytest.raises(FileNotFoundError, match=r"^no such file or folder: in/b\.png$"):
        find_images(["in/a.png", "in/b.png"], "out")


def test_an_empty_folder_gives_nothing(working_folder):
    (working_folder / "in").mkdir()
    assert find_images(["in"], "out") == ([], [], [])


def test_linked_files_are_taken_under_the_name_of_the_link(working_folder):
    write(working_folder, "elsewhere/real.png")
    (working_folder / "in").mkdir()
    (working_folder / "in" / "link.png").symlink_to("../elsewhere/real.png")
    (working_folder / "in" / "dangling.png").symlink_to("nowhere")
    (working_folder / "in" / "dangling").symlink_to("nowhere")
    assert stems("in") == {"dangling": "in/dangling.png", "link": "in/link.png"}


def test_a_folder_that_links_to_itself_is_searched_once(working_folder):
    write(working_folder, "in/deep/a.png")
    (working_folder / "in" / "deep" / "loop").symlink_to("..")
    (working_folder / "in" / "self").symlink_to("self")
    assert stems("in") == {"deep/a": "in/deep/a.png"}


def test_a_linked_folder_can_be_given(working_folder):
    write(working_folder, "real/a.png")
    (working_folder / "link").symlink_to("real")
    assert stems("link") == {"a": "link/a.png"}


def test_pipes_are_not_opened_to_look_inside(working_folder):
    (working_folder / "in").mkdir()
    os.mkfifo(working_folder / "in" / "pipe")
    assert find_images(["in"], "out")[0] == []


PDF, SVG, RUN = b"%PDF-1.7 ...", b"<?xml version='1.0'?><svg>", b'{\n "settings": {}}'


def test_files_passed_over_are_counted_in_one_line(working_folder, capsys):
    write(working_folder / "in", "a.png", "deep/results/b.png")
    for name in ("1.pdf", "2.pdf", "deep/3.pdf", "4.pdf"):
        write(working_folder / "in", name, data=PDF)
    write(working_folder / "in", "drawing", data=SVG)
    write(working_folder / "in", "manifest.jsonl", "split.csv", data=b"text")  # our own records are expected
    (working_folder / "in" / "album").symlink_to("../elsewhere")
    (working_folder / "elsewhere").mkdir()
    write(working_folder / "in", "old.zip", data=b"PK\x03\x04" + bytes(40))
    sources, refused = images_in("in")
    assert [source.name for source in sources] == ["a.png", "deep/results/b.png"] and not refused
    print_postponed()
    assert capsys.readouterr().err == (
        "passed over: 1 linked folder (in/album), 4 PDFs (in/1.pdf, in/2.pdf, in/4.pdf, ...), 1 SVG (in/drawing), "
        "1 zip archive (in/old.zip)\n"
    )


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("page.pdf", PDF, "1 PDF (in/page.pdf); export the pages of a PDF as PNG or JPEG"),
        ("face.svg", SVG, "1 SVG (in/face.svg); export an SVG as PNG"),
        ("in.zip", b"PK\x03\x04" + bytes(40), "1 zip archive (in/in.zip); give a zip archive by itself, or unpack it"),
        ("notes.txt", b"text", "1 other file (in/notes.txt); "),
        (None, None, "no other files were found; "),
    ],
)
def test_without_images_the_error_lists_what_was_found_and_which_formats_are_read(working_folder, name, data, what):
    (working_folder / "in").mkdir()
    if name:
        write(working_folder / "in", name, data=data)
    with pytest.raises(ValueError) as error:
        images_in("in")
    assert str(error.value).startswith(f"no images in in: {what}")
    assert str(error.value).endswith("; PNG, JPEG, BMP, WebP, TIFF, GIF, AVIF or HEIC files are read")


def test_a_linked_folder_is_named_if_there_is_nothing_else(working_folder):
    (working_folder / "in").mkdir()
    (working_folder / "in" / "album").symlink_to("..")
    with pytest.raises(ValueError, match=r"in/album\); give a linked folder by its own name; "):
        images_in("in")


def test_run_folders_below_the_input_are_not_inputs(working_folder, capsys):
    write(working_folder, "in/a.png", "in/runs/mine/a_photo.png", "in/runs/mine/deep/b_photo.png", "in/other/c.png")
    write(working_folder, "in/runs/mine/results.json", data=RUN)
    write(working_folder, "in/other/results.json", data=b'{"mine": 1}')  # of another program
    sources, _ = images_in("in")
    assert [source.name for source in sources] == ["a.png", "other/c.png"]
    print_postponed()
    assert capsys.readouterr().err == "passed over: 1 run folder (in/runs/mine)\n"
    assert [source.name for source in images_in("in/runs/mine")[0]] == ["a_photo.png", "deep/b_photo.png"]  # given
    with zipfile.ZipFile("in.zip", "w") as archive:
        for path in sorted(working_folder.glob("in/**/*.*")):
            archive.write(path, path.relative_to(working_folder / "in"))
    assert [source.name for source in images_in("in.zip")[0]] == ["a.png", "other/c.png"]


def test_an_archive_is_read_like_a_folder(working_folder):
    with zipfile.ZipFile("faces.zip", "w") as archive:
        for name, data in (("a.png", PNG), ("deep/b.jpg", JPEG), ("notes.txt", b"text"), ("../c.png", PNG)):
            archive.writestr(name, data)
    assert stems("faces.zip") == {"a": "faces.zip/a.png", "deep/b": "faces.zip/deep/b.jpg"}
    sources, refused, passed = find_images(["faces.zip"])
    assert refused == [("faces.zip/../c.png", "unsafe name in the archive")]
    assert passed == [("faces.zip/notes.txt", "other file")]
    assert [source.read() for source in sources] == [PNG, JPEG]
    write(working_folder, "faces/a.png", "given.png")
    assert stems("faces.zip", "given.png") == {
        "faces/a": "faces.zip/a.png",
        "faces/deep/b": "faces.zip/deep/b.jpg",
        "given": "given.png",
    }
    assert stems("faces.zip", "faces") == {
        "faces/a": "faces/a.png",
        "faces.zip/a": "faces.zip/a.png",
        "faces.zip/deep/b": "faces.zip/deep/b.jpg",
    }


def test_one_image_may_be_given_instead_of_a_folder(working_folder):
    write(working_folder, "in/face.jpg", data=JPEG)
    sources, refused = images_in("in/face.jpg")
    assert [(source.name, source.read()) for source in sources] == [("face.jpg", JPEG)] and not refused
    write(working_folder, "page.pdf", data=PDF)
    with pytest.raises(ValueError, match=r"^page\.pdf: export the pages of a PDF as PNG or JPEG$"):
        images_in("page.pdf")


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_of_several_folders_are_prepended(working_folder):
    write(working_folder, "mine/a.png", "yours/a.png", "given.png")
    assert stems("mine", "yours/", "given.png") == {
        "given": "given.png",
        "mine/a": "mine/a.png",
        "yours/a": "yours/a.png",
    }


def test_folders_with_the_same_name_are_distinguished_by_their_path(working_folder):
    write(working_folder, "x/faces/a.png", "y/z/faces/b.png")
    assert stems("x/faces", "y/z/faces") == {"x/faces/a": "x/faces/a.png", "y/z/faces/b": "y/z/faces/b.png"}


def test_files_with_the_same_name_are_distinguished_by_their_path(working_folder):
    write(working_folder, "x/a.png", "y/z/a.png")
    assert stems("x/a.png", "y/z/a.png") == {"x/a": "x/a.png", "y/z/a": "y/z/a.png"}


def test_files_and_folders_with_colliding_names_are_distinguished(working_folder):
    write(working_folder, "r/a/1.png", "r/b/1.png", "q/a/1.png")
    assert stems("r/a/1.png", "r/b/1.png", "q/a") == {
        "q/a/1": "q/a/1.png",
        "r/a/1": "r/a/1.png",
        "r/b/1": "r/b/1.png",
    }


def test_extensions_are_kept_only_if_names_would_collide(working_folder):
    write(working_folder, "in/a.png", "in/b.png", "in/b.jpg", "in/deep/b.png")
    assert stems("in") == {"a": "in/a.png", "b.jpg": "in/b.jpg", "b.png": "in/b.png", "deep/b": "in/deep/b.png"}


def test_a_kept_extension_does_not_collide_with_another_name(working_folder):
    write(working_folder, "in/b", "in/b.png", "in/b.png.png", "in/c.png", "in/c.png.jpg")
    names = {"b": "in/b", "b.png": "in/b.png", "b.png.png": "in/b.png.png", "c": "in/c.png"}
    assert stems("in") == names | {"c.png.jpg": "in/c.png.jpg"}


@pytest.mark.parametrize("again", ["in", "in/", "./in", "in/a.png", "in/../in/a.png"])
def test_duplicate_inputs_are_taken_once(working_folder, again):
    write(working_folder, "in/a.png")
    assert list(stems("in", again).values()) == ["in/a.png"]


@pytest.mark.parametrize("step", [1, -1])
def test_the_order_does_not_depend_on_the_order_of_creation(working_folder, step):
    names = [
        "10.png",
        "9.png",
        "B.png",
        "a b.png",
        "a.png",
        "b.png",
        "deep/a.png",
        "deeper/a.png",
        "up/10.png",
        "up/9.png",
    ]
    write(working_folder / "in", *names[::step])
    assert [source.name for source in find_images(["in"], "out")[0]] == [f"in/{name}" for name in names]
    order = ["10", "9", "B", "a", "a b", "b", "deep/a", "deeper/a", "up/10", "up/9"]
    assert list(stems("in")) == order


def test_names_and_their_order_do_not_depend_on_the_order_of_the_inputs(working_folder):
    write(working_folder, "mine/a.png", "yours/a.png", "yours/b.png", "given.png")
    one, other = stems("mine", "yours", "given.png"), stems("given.png", "yours", "mine")
    assert list(one.items()) == list(other.items()) and len(one) == 4


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_returns_no_more_bytes_than_it_claims(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", bytes(5 * 10**7))
        archive.writestr("b.png", b"\x89PNG" + bytes(range(256)) * 1000)
        archive.writestr("empty.png", b"")
    archive = zipfile.ZipFile(tmp_path / "a.zip")
    whole, *others = (Member(archive, info, info.filename) for info in archive.infolist())
    assert [other.read() for other in others] == [b"\x89PNG" + bytes(range(256)) * 1000, b""]
    assert [other.peek(4) for other in others] == [b"\x89PNG", b""]
    whole.info.file_size = 1000
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="damaged in the archive"):
            whole.read()
        if method != zipfile.ZIP_DEFLATED:  # for deflate, zipfile itself reads and checks all 1000 bytes
            assert whole.peek(12) == bytes(12)
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_truncated_or_changed_member_is_damaged(tmp_path, method):
    content = bytes(range(256)) * 100
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", content)
    for change in ({"CRC": 1}, {"file_size": len(content) + 1}, {"compress_size": 40}, {"compress_size": 3}):
        archive = zipfile.ZipFile(tmp_path / "a.zip")
        info = archive.getinfo("a.png")
        for name, value in change.items():
            setattr(info, name, value)
        with pytest.raises(ImageError, match="damaged in the archive"):
            Member(archive, info, "a.png").read()
