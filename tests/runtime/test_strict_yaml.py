"""A configuration means what it looks like, or is refused with its line, at once."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import get_loader

from nnmass.commands.main import main
from nnmass.runtime.config_names import CONFIG_FOLDER
from nnmass.runtime.strict_yaml import read_yaml, yaml_text

BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "trainer:\n  max_epochs: 3\ntrainer:\n  precision: 32\n",
            "line 3: the key 'trainer' stands in line 1 already",
        ),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: the key 'b' stands in line 2 already"),
        ("a: [{b: 1, b: 2}]\n", "line 1: the key 'b' stands in line 1 already"),
        ("seed: 010\n", "line 1: 010 would be read in base 8; write it without the leading zero"),
        ("seed: -07\n", "line 1: -07 would be read in base 8"),
        (BOMB, "more than 1,000,000 values, by way of aliases"),
        ("a: &a [*a]\n", "a value that contains itself"),
        ("a: &a {b: *a}\n", "a value that contains itself"),
        ("[" * 5000, "Expected "),
        ("- 1\n", "Expected keys and values in .*, but it holds list."),
        ("a: [1\n", r"Expected YAML in .* \(line 2\)"),
        ("a: !!python/object/apply:os.system [ls]\n", "Expected YAML in .*could not determine a constructor"),
    ],
)
def test_what_is_not_what_it_looks_like_is_refused_at_once(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    began = time.perf_counter()
    with pytest.raises(ValueError, match=sentence) as refused:
        read_yaml(path)
    assert str(path) in str(refused.value)
    assert time.perf_counter() - began < 10


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="but it holds other bytes"):
        read_yaml(path)


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_all_that_ships_is_read_as_the_command_line_reads_it(path: Path) -> None:
    assert read_yaml(path) == get_loader("yaml")(path.read_text())


@pytest.mark.parametrize("text", ["1e-3", "5e-05", "+2E4", "-1_0.e+2", "1.5e3", "0.001", "1.0e-3"])
def test_numbers_with_an_exponent_are_numbers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"lr: {text}\n")
    assert read_yaml(path) == {"lr": float(text)}


@pytest.mark.parametrize("text", ["1e", "e3", "1e-", "0x1e3z", "v1e3", "1e3_a", "'1e-3'"])
def test_other_words_stay_texts(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: {text}\n")
    assert read_yaml(path) == {"name": text.strip("'")}


def test_aliases_and_merged_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("base: &base {a: 1, b: 0x10}\nmore:\n  <<: *base\n  a: 2\nagain: *base\nzero: 0\nfloat: 0.5\n")
    assert read_yaml(path) == yaml.safe_load(path.read_text())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_is_read_again(content: dict) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(yaml_text(content), encoding="utf-8")
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trainer:\n", "Expected keys and values under trainer in {path}, but it holds nothing."),
        ("model: 3\n", "Expected keys and values under model in {path}, but it holds 3."),
        ("data: [1]\n", "Expected keys and values under data in {path}, but it holds [1]."),
        ("model: true\n", "Expected keys and values under model in {path}, but it holds True."),
        ("", "Expected keys and values in {path}, but it is empty."),
        ("5: 3\n", "Expected keys in {path} to be words, but got 5."),
        ("model: {null: 3}\n", "Expected keys under model in {path} to be words, but got None."),
        (
            "model: {network: 5}\n",
            "Expected model.network in {path} to be a class by its full name, or keys and values, but",
        ),
        ("model: {network: [1]}\n", "or keys and values, but got [1]."),
        ("model: {optimizer: 5}\n", "Expected model.optimizer in {path} to be a class by its full name, or keys and"),
        (
            "model: {network: {class_path: nnmass.zoo.RandomSkipDenseNet, init_args: 5}}\n",
            "Expected keys and values under model.network.init_args in {path}, but it holds 5.",
        ),
        (
            "model: {network: {class_path: 5}}\n",
            "model.network.class_path in {path} to be the full name of a class, but",
        ),
        (
            "data: {class_path: nnmass.datamodules.Digits, init_args: [1]}\n",
            "Expected keys and values under data.init_args in {path}, but it holds [1].",
        ),
        (
            "trainer: {callbacks: [{class_path: EarlyStopping, init_args: 5}]}\n",
            "Expected keys and values under trainer.callbacks[0].init_args in {path}, but it holds 5.",
        ),
        (
            "trainer: {callbacks: [5]}\n",
            "Expected trainer.callbacks to be a class by its full name, such as pytorch_lightning.callbacks.EarlyS",
        ),
        ("trainer: {callbacks: 5}\n", "Expected trainer.callbacks to be a list, but got 5."),
        ("trainer: {}\ntrainer: {}\n", "the key 'trainer' stands in line 1 already."),
    ],
)
def test_the_command_line_says_so_in_one_line(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert main(["fit", "--config", "digits_dense.yaml", "--config", str(path)]) == 2
    message = capsys.readouterr().err
    assert sentence.format(path=path) in message
    assert message.count("\n") == 1


def test_a_studys_key_stands_once_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("configs: [digits_dense.yaml]\nseeds: 2\nseeds: 3\n")
    assert main(["study", "status", str(path)]) == 2
    assert "line 3: the key 'seeds' stands in line 2 already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["fit", "--config"], ["inspect", "--config"], ["study", "plan"], ["design", "--like"]]
)
def test_a_pipe_is_refused_for_what_it_is(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/null")):
        assert main([*words, str(path)]) == 2
        message = capsys.readouterr().err
        assert f"to be a file, but {path} is a pipe or a device, which can be read only once" in message
        assert message.count("\n") == 1
