"""Configuration: YAML files and `--set` options become settings, or a one-line error that names the position."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml
from conftest import ROOT

from contextual_gan.config import (
    DataSettings,
    Pix2PixSettings,
    SearchSettings,
    TrainSettings,
    load,
    resolved,
)
from contextual_gan.fields import check, setting


@dataclass(frozen=True)
class Everything:
    """A field of every kind in settings."""

    whole: int = setting(1, "", low=0, high=10)
    number: float = setting(0.5, "", low=0, high=100)
    free: float = setting(1.0, "")
    text: str = setting("a", "")
    choice: str = setting("on", "", choices=("on", "off"))
    switch: bool = setting(False, "")
    maybe: int | None = setting(None, "", low=0, high=10)
    several: tuple[str, ...] = setting(("a",), "", choices=("a", "b"))
    lambda_: float = setting(0.1, "", low=0, high=1)

    __post_init__ = check


@pytest.fixture
def read(tmp_path):
    """read(text or bytes, overrides..., cls) -> the settings from a file with this content."""

    def read(content, *overrides, cls=DataSettings):
        path = tmp_path / "x.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(path, "data", cls, overrides)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    """The message of the ValueError, without the folder."""

    def refusal(*args, **options):
        with pytest.raises(ValueError) as error:
            read(*args, **options)
        message = str(error.value)
        assert "\n" not in message and len(message) < 400 + len(str(tmp_path))
        return message.replace(f"{tmp_path}/", "")

    return refusal


# --- the configurations of the repository -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_of_the_repository_load_and_explain_themselves(path):
    load(path, "data", DataSettings)
    text = path.read_text()
    comments = text[: text.index("\ndata:")]
    assert all(line.startswith("#") or not line for line in comments.splitlines())
    assert f"--config configs/{path.name}" in comments and "Expected:" in comments
    assert path.name in (ROOT / "configs" / "README.md").read_text()


def test_celeba_is_the_default_and_the_others_differ_as_documented():
    configs = {path.stem: load(path, "data", DataSettings) for path in (ROOT / "configs").glob("*.yaml")}
    assert set(configs) == {
        "celeba",
        "styles",
        "cars",
        "birds",
        "photos",
        "smoke",
        "pix2pix",
        "celeba_pairs",
        "cars_pairs",
    }
    assert configs.pop("pix2pix") == configs["celeba"]
    assert load(ROOT / "configs/pix2pix.yaml", "pix2pix", Pix2PixSettings) == Pix2PixSettings()
    trained = {name: load(ROOT / f"configs/{name}.yaml", "train", TrainSettings) for name in configs}
    assert trained["celeba"] == TrainSettings() and trained["styles"] == TrainSettings(
        init_from="celeba_paper", epochs=10.0, pairs=1.0
    )
    assert configs["celeba"] == DataSettings()
    assert configs["styles"] == DataSettings(styles=("xdog", "fdog", "photocopy"))
    assert {name: config.crop for name, config in configs.items()} == {
        "celeba": "align",
        "styles": "align",
        "cars": "centre",
        "cars_pairs": "centre",
        "celeba_pairs": "align",
        "birds": "boxes",
        "photos": "centre",
        "smoke": "centre",
    }


# --- reading ----------------------------------------------------------------------------------------------------------


def test_given_values_are_used_and_the_rest_is_default(read):
    assert read("data:\n  test: 5\n  styles: [fdog, xdog]\n") == DataSettings(test=5, styles=("fdog", "xdog"))
    assert read("data:\n") == read("data: {}") == DataSettings()
    assert read("data:\n  seed: 3\ntrain:\n  anything: [goes, here]\n") == DataSettings(seed=3)
    assert read(b"\xef\xbb\xbfdata:\r\n  crop: none\r\n") == DataSettings(crop="none")  # as Windows writes it


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2.0), ("1e-4", 1e-4), ("1.5e1", 15.0), (".5", 0.5), ("1.e+1", 10.0), ("'3e0'", 3.0)]
)
def test_numbers_may_be_written_in_any_notation(read, text, value):
    number = read(f"data: {{number: {text}}}", cls=Everything).number
    assert number == value and type(number) is float
    assert read("data:", f"data.number={text}", cls=Everything).number == value


def test_overrides_override_the_file_and_earlier_ones(read):
    file = "data:\n  test: 5\n  seed: 1\n"
    assert read(file, "data.test=7", "data.styles=[fdog]", "data.test=8") == DataSettings(
        test=8, seed=1, styles=("fdog",)
    )
    assert read(file, " data.test = null ") == DataSettings(test=None, seed=1)


def test_keys_have_no_underscore_at_the_end(read):
    settings = read("data:\n  lambda: 0.5\n", cls=Everything)
    assert settings.lambda_ == 0.5 and resolved(settings)["lambda"] == 0.5


def test_resolved_settings_can_be_read_again(read):
    settings = DataSettings(test=12, styles=("photocopy", "xdog"), crop="centre")
    assert read(yaml.safe_dump({"data": resolved(settings)})) == settings
    assert resolved(settings)["styles"] == ["photocopy", "xdog"]
    assert list(resolved(SearchSettings())) == [
        *("n_init", "lambda", "prior", "edges", "update", "lr", "momentum", "iterations", "start", "spread"),
        *("epsilon", "init_kl", "search_kl", "contextual", "perceptual"),
    ]


# --- refused configurations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("tset", "data.test"),
        ("style", "data.styles"),
        ("Crop", "data.crop"),
        ("landmark", "data.landmarks"),
        ("zzz", "data.seed"),  # no similar key: all are listed
        ("5", "data.seed"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(refusal, key, hint):
    message = refusal(f"data:\n  test: 3\n  {key}: 1\n")
    assert message.startswith(f"x.yaml: unknown key data.{key}; ") and hint in message
    assert (message.count("data.") == 2) == (hint != "data.seed")
    override = f"data.{key}=1"
    assert refusal("data:", override) == message.replace("x.yaml", f"--set {override}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("whole: true", "whole is true; it must be a whole number"),
        ("whole: '5'", "whole is '5'; it must be a whole number"),
        ("whole: 5.0", "whole is 5.0; it must be a whole number"),
        ("whole: 1e1", "whole is '1e1'; it must be a whole number"),
        ("whole:", "whole is null; it must be a whole number"),
        ("whole: [1]", "whole is [1]; it must be a whole number"),
        ("whole: -1", "whole is -1; it must be from 0 to 10"),
        ("whole: 11", "whole is 11; it must be from 0 to 10"),
        ("number: '5'", "number is '5'; it must be a number"),
        ("number: 1e", "number is '1e'; it must be a number"),
        ("number: no", "number is false; it must be a number"),
        ("number: .nan", "number is nan; it must be from 0 to 100"),
        ("number: .inf", "number is inf; it must be from 0 to 100"),
        ("number: 1e3", "number is '1e3'; it must be from 0 to 100"),
        ("free: .nan", "free is nan; it must be finite"),
        ("free: 1" + 400 * "0", "it must be finite"),
        ("free: 1e999", "free is '1e999'; it must be finite"),
        ("text: 5", "text is 5; it must be text"),
        ("text: 2020-01-01", "it must be text"),
        ("choice: onn", "choice is 'onn'; it must be one of on, off"),
        ("choice: on", "choice is true; it must be one of on, off"),  # true in YAML 1.1
        ("switch: 1", "switch is 1; it must be true or false"),
        ("switch: 'true'", "switch is 'true'; it must be true or false"),
        ("maybe: x", "maybe is 'x'; it must be a whole number"),
        ("maybe: 11", "maybe is 11; it must be from 0 to 10"),
        ("several: a", "several is 'a'; it must be a list in brackets"),
        ("several: []", "several is []; it must not be empty"),
        ("several: [a, c]", "several is ['a', 'c']; it must be made of a, b"),
        ("several: [a, 1]", "several is ['a', 1]; it must be text"),
        ("several: [a, a]", "several is ['a', 'a']; it must not contain duplicates"),
        ("text: !!binary aGVsbG8=", "it must be text"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused(refusal, line, reason):
    message = refusal(f"data:\n  {line}\n", cls=Everything)
    assert message.startswith("x.yaml: data.") and reason in message


def test_settings_check_themselves_without_a_file():
    with pytest.raises(ValueError, match=r"^test is -1; it must be from 0 to 1000000000$"):
        DataSettings(test=-1)
    with pytest.raises(ValueError, match=r"^styles is \('xdgo',\); it must be made of xdog, fdog, photocopy$"):
        DataSettings(styles=("xdgo",))
    with pytest.raises(ValueError, match=r"^lambda is -1; it must be from 0 to"):
        SearchSettings(lambda_=-1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty; it must have a section data:"),
        ("# nothing but this\n", "it is empty"),
        ("- data\n", "not a configuration; it must have a section data:"),
        ("just words", "not a configuration"),
        ("data: 5", "data is 5; it must hold lines of the form key: value"),
        ("data: [test]", "data is ['test']; it must hold lines"),
        ("train:\n  lr: 1\n", "no section data:, only train"),
        ("dta:\n  test: 5\n", "unknown section dta; did you mean data?"),
        ("data:\n  test: 5\nmodel:\n", "unknown section model; valid: data, train"),
        ("data:\n  test: 5\n\n  test: 6\n", "line 4: duplicate key data.test, first in line 2"),
        ("data:\n  test: 5\ndata:\n  seed: 6\n", "line 3: duplicate key data, first in line 1"),
        ("data:\n  test: [5\n  seed: 6\n", "line 3: "),
        ("data:\n  test: 5\n\tseed: 6\n", "line 3: found character '\\t'"),
        ("data:\n  test: 5: 6\n", "line 2: mapping values are not allowed here"),
        ("data:\n  crop: 'open\n", "line 3: "),
        ("data: {}\n---\ndata: {}\n", "line 2: "),
        ("data:\n  ? [a]\n  : b\n", "line 2: found unhashable key"),
        ("data: !!python/object/apply:os.system ['exit 1']\n", "line 1: could not determine a constructor"),
        ("data:\n  <<: {test: 1}\n", "line 2: << is not supported"),
        ("data:\n  test: *five\n", "line 2: found undefined alias"),
        ("data:\n  test: 2020-13-45\n", "month must be in 1..12"),
        ("data:\n  test: " + 5000 * "9" + "\n", "5000 digits"),
        ("data: " + 5000 * "[", "nested too deeply"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8 text"),
        ("data:\n  crop: centré\n".encode("latin1"), "not UTF-8 text"),
        ("data:\n".encode("utf-16"), "not UTF-8 text"),
        (b"data:\0\n", "not text, so not a configuration"),
        (200_000 * b"#", "over 100 kB"),
    ],
)
def test_an_invalid_configuration_is_refused(refusal, content, reason):
    message = refusal(content)
    assert message.startswith("x.yaml: ") and reason in message


def test_few_lines_that_expand_to_millions_are_refused_at_once(refusal):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 20)]
    assert "unknown section a0" in refusal("\n".join(lines))
    nested = "\n".join(f"  k{i}: &k{i} [{', '.join(9 * [f'*k{i - 1}'])}]" for i in range(1, 20))
    assert "unknown key data.k0" in refusal(f"data:\n  k0: &k0 [x]\n{nested}\n")
    assert "it must be text" in refusal("data:\n  styles: &s [*s]\n")  # a list that contains itself


def test_invalid_overrides_are_refused(refusal):
    for text in ("data.test", "data.test=", "=5", "data.test= "):
        assert refusal("data:", text).startswith(f"--set {text}: ")
    assert refusal("data:", "test=5") == "--set test=5: unknown key test; did you mean data.test?"
    assert refusal("data:", "train.lr=5").startswith("--set train.lr=5: unknown key train.lr; valid: data.crop")
    assert refusal("data:", "data.styles=[xdog").startswith("--set data.styles=[xdog: line 1: ")
    assert refusal("data:", "data.test=many").startswith("--set data.test=many: data.test is 'many'; it must be")


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    for path, reason in (
        (tmp_path, "not a file"),
        (tmp_path / "none.yaml", "no such file"),
        ("/dev/zero", "not a file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ValueError, match=reason) as error:
            load(path, "data", DataSettings)
        assert str(path) in str(error.value)


def test_the_module_is_light():
    code = "import sys, contextual_gan.config; print({'numpy', 'yaml', 'PIL', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
