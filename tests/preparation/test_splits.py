"""Training and test images: chosen by hash or by a list; never the same picture in both."""

import zipfile
from collections import Counter

import pytest

from contextual_gan.files.apply import Item, Report
from contextual_gan.files.manifest import Manifest
from contextual_gan.preparation.splits import (
    assert_disjoint,
    choose,
    disjoint,
    divide,
    few,
    finish,
    read_split,
    rule,
    stem,
    write_split,
)

NAMES = [f"img/{i:05}.jpg" for i in range(1000)]
PARAMETERS = {"step": "split"}


def chosen_in(parts):
    return {name for name, part in parts.items() if part == "test"}


@pytest.fixture
def split(tmp_path):
    """split(content, names) -> the result of `read_split` for a list with this content."""

    def split(content, names=("img/1.jpg", "img/2.jpg", "img/3.jpg")):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_split(path, names)

    return split


@pytest.fixture
def refusal(split, tmp_path):
    def refusal(*args):
        with pytest.raises(ValueError) as error:
            split(*args)
        assert "\n" not in str(error.value)
        return str(error.value).replace(f"{tmp_path}/", "")

    return refusal


# --- by hash ----------------------------------------------------------------------------------------------------------


def test_the_choice_never_changes():
    """The order of `printf 0/g | sha256sum`: trained weights belong to a split, so it must not change."""
    assert chosen_in(choose("abcdefgh", test=2)) == {"f", "g"}
    assert chosen_in(choose("abcdefgh", test=2, seed=1)) == {"d", "g"}


@pytest.mark.parametrize(
    ("images", "test"),
    [(0, 0), (1, 0), (2, 1), (3, 1), (14, 1), (16, 2), (1000, 100), (9999, 1000), (10_000, 1000), (30_000, 1000)],
)
def test_number_of_test_images(images, test):
    parts = choose(map(str, range(images)))
    assert len(parts) == images and len(chosen_in(parts)) == test
    assert list(parts) == sorted(parts) and set(parts.values()) <= {"train", "test"}


def test_exactly_the_requested_number():
    assert [len(chosen_in(choose(NAMES, test=n))) for n in (0, 1, 999, 1000)] == [0, 1, 999, 1000]
    with pytest.raises(ValueError, match=r"^1001 test images requested, but there are only 1000 images$"):
        choose(NAMES, test=1001)


def test_order_and_repetition_of_names_do_not_matter():
    assert choose(NAMES[::-1] + NAMES[:10], test=50) == choose(NAMES, test=50)


def test_names_of_any_kind():
    names = ["-x.jpg", " ", "a,b.jpg", 'a"b', "ü/日本.png", "\udcff.png", "😀"]  # the sixth: a byte that is not UTF-8
    assert len(chosen_in(choose(names, test=3))) == 3


def test_test_images_are_spread_evenly():
    """Of 10,000 consecutive names, each tenth has about a tenth of the 1,000 test images (3.3 sigma: 67 to 133)."""
    counts = Counter(int(name) // 1000 for name in chosen_in(choose([f"{i:05}" for i in range(10_000)])))
    assert len(counts) == 10 and all(67 <= n <= 133 for n in counts.values())


def test_no_training_image_becomes_a_test_image_when_images_are_added():
    before = chosen_in(choose(NAMES[:500], test=50))
    for n in (501, 600, 1000):
        assert chosen_in(choose(NAMES[:n], test=50)) & set(NAMES[:500]) <= before


def test_known_images_keep_their_part_and_new_ones_fill_it_up():
    known = choose(NAMES[:500])
    parts = choose(NAMES, known=known)
    assert {name: parts[name] for name in known} == known and len(chosen_in(parts)) == 100
    new = chosen_in(parts) - set(known)
    assert new == chosen_in(choose(NAMES[500:], test=50))  # those with the smallest hashes
    assert choose(NAMES, known=parts) == parts
    full = choose(NAMES, test=50, known=known)  # no room for others
    assert chosen_in(full) == chosen_in(known)
    assert chosen_in(choose(NAMES[:10], test=1, known=dict.fromkeys(NAMES[:10], "test"))) == set(NAMES[:10])


def test_a_photo_and_the_png_made_of_it_go_to_the_same_part():
    photos = choose(NAMES, test=50)
    joints = choose([name.replace(".jpg", ".png") for name in NAMES], test=50)
    assert {name.replace(".jpg", ".png"): part for name, part in photos.items()} == joints
    assert choose(NAMES, test=50, by="name") != photos
    stems = {"a/b.JPG": "a/b", "a.jpg.png": "a", "v1.2": "v1.2", ".png": ".png", "a.b.tiff": "a.b"}
    assert {name: stem(name) for name in stems} == stems


def test_a_folder_started_with_the_old_rule_keeps_it(tmp_path):
    out, parameters = tmp_path / "out", {"step": "split", "by": "name"}
    assert rule(out, "by") == "stem"
    old = choose(NAMES[:500], test=50, by="name")
    manifest = Manifest(out, parameters)
    manifest.begin({})
    manifest.add({"source": NAMES[0], "sha256": "1", "skipped": "no face found"})
    assert rule(out, "by") == "name"  # as long as the work goes on
    manifest.finish()
    write_split(out / "split.csv", old)
    assert rule(out, "by") == "name" and rule(out, "by", overwrite=True) == "stem" and rule(out, "split by") == "stem"
    items = [Item(name, f"{name}.png", ()) for name in NAMES]
    _, _, parts, _ = divide(items, out, parameters, test=100, by=rule(out, "by"))
    assert old.items() <= parts.items()
    new = chosen_in(parts) - chosen_in(old)
    assert new == chosen_in(choose(NAMES[500:], test=50, by="name"))


# --- by a list --------------------------------------------------------------------------------------------------------


def test_a_written_list_can_be_read_again(tmp_path):
    names = ["-x.jpg", " a .jpg", "a,b.jpg", 'a"b.jpg', "ü/日本.png", "a\nb.png", "a\rb.png", "c 0", "#.png", "d\t1"]
    parts = {name: ("train", "test")[i % 2] for i, name in enumerate(names)}
    write_split(tmp_path / "split.csv", parts)
    lines = (tmp_path / "split.csv").read_bytes()
    assert lines.startswith(b"image,split\n a .jpg,test\n#.png,train\n-x.jpg,train\n")
    assert read_split(tmp_path / "split.csv", names) == (dict(sorted(parts.items())), [], 0)
    write_split(tmp_path / "again.csv", dict(reversed(parts.items())))
    assert (tmp_path / "again.csv").read_bytes() == lines


def test_celebas_own_list_is_read(split):
    lists = (
        "1.jpg 0\n2.jpg 1\n3.jpg 2\n",
        "1.jpg\t0\r\n2.jpg   1\r\n\r\n3.jpg 2",
        "image_id,partition\n1.jpg,0\n2.jpg,1\n3.jpg,2",
    )
    for content in lists:
        assert split(content) == ({"img/1.jpg": "train", "img/2.jpg": "train", "img/3.jpg": "test"}, [], 0)
    assert split("a b.jpg 2\n", ["a b.jpg"])[0] == {"a b.jpg": "test"}


def test_lines_and_images_may_differ_in_their_extensions(split):
    expected = {"img/1.jpg": "train", "img/2.jpg": "train", "img/3.jpg": "test"}
    assert split("1.png 0\n2.JPEG 1\n3 2\n") == (expected, [], 0)
    assert split("image,split\nold/img/1.png,train\n2.png,train\nimg/3.webp,test\n") == (expected, [], 0)
    names = ["a.jpg", "b.png", "c.jpg.png"]  # a line with the right extension comes first
    content = "image,split\na.png,test\na.jpg,train\nb.jpg,test\nc.jpg,test\n"
    assert split(content, names) == ({"a.jpg": "train", "b.png": "test", "c.jpg.png": "test"}, [], 1)


def test_an_image_whose_extension_is_not_in_the_list_must_be_unambiguous(refusal):
    assert (
        refusal("image,split\na.webp,test\n", ["a.jpg", "a.png"]) == "list.csv, line 2: a is ambiguous: a.jpg or a.png"
    )
    message = refusal("image,split\na.webp,test\na.tif,train\n", ["a.jpg"])
    assert message == "list.csv, line 3: a.jpg is in train, but line 2 has it in test"


@pytest.mark.parametrize(
    "content",
    [
        '"image","split"\n"1.jpg","train"\n"2.jpg","test"\n',
        "image, split\n1.jpg, train\n 2.jpg , test \n",
        '"image", "split"\r\n"1.jpg", "train"\r\n"2.jpg" , test\r\n',
        'Image,Split\n1.jpg,train\n"2.jpg", "test"',
        '"image_id" ,"partition"\n"1.jpg","0"\n"2.jpg" , 2\n',
    ],
)
def test_quotes_and_spaces_are_csv_too(split, content):
    assert split(content, ["img/1.jpg", "img/2.jpg"]) == ({"img/1.jpg": "train", "img/2.jpg": "test"}, [], 0)


def test_images_without_a_line_and_lines_without_an_image(split):
    content = "image,split\n2.jpg,test\n7.jpg,train\n8.jpg,test\n\n"
    assert split(content) == ({"img/2.jpg": "test"}, ["img/1.jpg", "img/3.jpg"], 2)


def test_an_image_may_be_named_by_the_end_of_its_name(split):
    names = ["x/a/1.jpg", "x/b/1.jpg", "x/b/2.jpg", "1.jpg"]
    assert split("image,split\na/1.jpg,test\n2.jpg,test\nx/b/1.jpg,train\n", names)[0] == {
        "x/a/1.jpg": "test",
        "x/b/1.jpg": "train",
        "x/b/2.jpg": "test",
    }
    assert split("image,split\n1.jpg,test\n", names)[0] == {"1.jpg": "test"}  # the whole name comes first
    assert split("image,split\nold/img/1.jpg,test\nimg/2.jpg,train\n", ["1.jpg", "2.jpg"])[0] == {
        "1.jpg": "test",
        "2.jpg": "train",
    }
    with pytest.raises(ValueError, match="none of its 2 lines"):  # g/1.jpg is not the end of img/1.jpg
        split("image,split\ng/1.jpg,test\nother/2.jpg,train\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "line 1: it must be image,split, or every line must have the form 000001.jpg 0"),
        ("image;split\n1.jpg;test\n", "line 1: it must be image,split"),
        ("1.jpg,test\n", "line 1: it must be image,split"),
        ("image,split\n", "none of its 0 lines names one of the images, such as img/1.jpg"),
        ("image,split\n7.jpg,test\n", "none of its 1 lines names one of the images, such as img/1.jpg"),
        ("image,split\n1.jpg,test\n2.jpg\n", "line 3: it must hold an image and its part"),
        ("image,split\n1.jpg,test,x\n", "line 2: it must hold an image and its part"),
        ("image,split\n1.jpg,valid\n", "line 2: the part of 1.jpg is 'valid'; it must be train or test"),
        ("image,split\n1.jpg,\n", "line 2: the part of 1.jpg is ''"),
        ('image,split\n1.jpg,test\n"2.jpg,test\n', "line 3: unexpected end of data"),
        (
            "image,split\n1.jpg,test\n2.jpg,test\n1.jpg,train\n",
            "line 4: img/1.jpg is in train, but line 2 has it in test",
        ),
        ("image,split\n1.jpg,test\nimg/1.jpg,train\n", "line 3: img/1.jpg is in train, but line 2 has it in test"),
        ("image,split\n1.jpg,test\n\xff".encode("latin1"), "line 3: not UTF-8"),
        ("1.jpg 0\n2.jpg 3\n", "line 2: the part of 2.jpg is '3'"),
        ("1.jpg 0\n2.jpg\n", "line 2: it must hold an image and its part"),
    ],
)
def test_a_list_with_a_mistake_is_refused(refusal, content, reason):
    message = refusal(content)
    assert message.startswith("list.csv") and reason in message


def test_an_ambiguous_short_name_is_refused(refusal):
    assert (
        refusal("image,split\n1.jpg,test\n", ["a/1.jpg", "b/1.jpg"])
        == "list.csv, line 2: 1.jpg is ambiguous: a/1.jpg or b/1.jpg"
    )


def test_the_same_line_twice_does_no_harm(split):
    assert split("image,split\n1.jpg,test\n1.jpg,test\nimg/1.jpg,test\n") == (
        {"img/1.jpg": "test"},
        ["img/2.jpg", "img/3.jpg"],
        0,
    )


def test_a_file_that_is_not_a_list_is_refused(tmp_path):
    for path, reason in (
        (tmp_path, "not a regular file"),
        (tmp_path / "no.csv", "No such file"),
        ("/dev/zero", "not a"),
    ):
        with pytest.raises(ValueError, match=reason) as error:
            read_split(path, NAMES)
        assert str(error.value).startswith(str(path))


def test_the_list_of_the_real_faces(data):
    with zipfile.ZipFile(data / "celeba_faces.zip") as archive:
        names = archive.namelist()
    parts, missing, unused = read_split(data / "celeba_faces_split.csv", names)
    assert Counter(parts.values()) == {"train": 25_476, "test": 1_000} and not missing and not unused
    assert parts["img_align_celeba/202598.jpg"] == "test" and parts["img_align_celeba/000001.jpg"] == "train"
    assert read_split(data / "celeba_faces_split.csv", names[:100])[2] == 26_376


# --- by content -------------------------------------------------------------------------------------------------------


def item(output, source=None):
    return Item(source or output.replace("train/", "").replace("test/", ""), output, ())


def test_copies_of_test_images_are_refused():
    refuse = disjoint()
    assert [refuse(item("test/a.png"), "1"), refuse(item("test/b.png"), "1")] == [None, None]
    assert refuse(item("train/c.png"), "2") is None
    assert refuse(item("train/d.png"), "2") is None  # copies within a part are harmless
    assert refuse(item("train/e.png"), "1") == "same content as the test image a.png"
    assert disjoint({"x.png": "not in list.csv"})(item("train/x.png"), "3") == "not in list.csv"
    skipped = disjoint({"a.png": "not in list.csv"})
    assert skipped(item("test/a.png"), "1") and skipped(item("train/b.png"), "1") is None


def test_outputs_count_after_their_input_is_removed():
    gone = [
        {"source": "t.png", "sha256": "1", "output": "test/t.png"},
        {"source": "r.png", "sha256": "2", "output": "train/r.png"},
        {"source": "s.png", "sha256": "3", "skipped": "no face found"},
    ]
    refuse = disjoint(gone=gone)
    assert refuse(item("test/a.png"), "2") == "same content as the training image r.png, whose input no longer exists"
    assert refuse(item("test/b.png"), "3") is None and refuse(item("test/c.png"), "1") is None
    assert refuse(item("train/d.png"), "1") == "same content as the test image t.png"
    assert refuse(item("train/e.png"), "2") is None


def test_an_image_in_both_parts_stops_the_work():
    entries = [
        {"source": "a", "sha256": "1", "output": "train/a.png"},
        {"source": "b", "sha256": "1", "skipped": "same content"},
        {"source": "c", "sha256": "2", "output": "test/c.png"},
    ]
    assert_disjoint(entries)
    with pytest.raises(RuntimeError, match=r"^the training image a has the same content as the test image d$"):
        assert_disjoint([*entries, {"source": "d", "sha256": "1", "output": "test/d.png"}])


# --- the whole split --------------------------------------------------------------------------------------------------


def test_test_images_come_first_and_the_list_is_written_at_the_end(tmp_path):
    items = [Item(f"{i}.jpg", f"{i}.png", ()) for i in range(20)]
    divided, refuse, parts, unused = divide(items, tmp_path / "out", PARAMETERS, test=5)
    assert [i.output.split("/")[0] for i in divided] == 5 * ["test"] + 15 * ["train"] and unused == 0
    assert parts == {i.source: i.output.split("/")[0] for i in divided} == choose(parts, test=5)
    assert all(i.output == f"{parts[i.source]}/{i.source[:-4]}.png" for i in divided)
    assert not (tmp_path / "out").exists()
    assert refuse(divided[0], "1") is None and refuse(divided[-1], "1").startswith("same content")
    finish(Report(tmp_path / "out", [], 0, 0), parts)
    assert read_split(tmp_path / "out" / "split.csv", parts)[0] == parts


def test_nothing_is_written_over_a_list_of_another_origin(tmp_path):
    (tmp_path / "split.csv").write_text("mine")
    items = [Item("1.jpg", "1.png", ())]
    with pytest.raises(ValueError, match="no manifest lists it"):
        divide(items, tmp_path, PARAMETERS)
    assert (tmp_path / "split.csv").read_text() == "mine"
    assert divide(items, tmp_path, PARAMETERS, overwrite=True)[2] == {"1.jpg": "train"}


def test_a_small_training_set_causes_a_warning():
    assert few(500) is None and "only 499 training images" in few(499)
