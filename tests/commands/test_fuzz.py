"""Any content of a file or of the command line works, or is refused in one sentence."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nnmass.commands.training.lightning_cli import parsed_fit
from nnmass.datamodules.image_files import ImageFiles
from nnmass.datamodules.image_tree import load_image_tree
from nnmass.datamodules.imagenet import ImageNet
from nnmass.runtime.checkpoints import read_checkpoint
from nnmass.runtime.config_names import find_config
from nnmass.runtime.messages import sentence

pytestmark = pytest.mark.slow
once = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

CHECKPOINT = io.BytesIO()
torch.save({"state_dict": {"a": torch.arange(6.0)}, "global_step": 3, "callbacks": {}}, CHECKPOINT)
PICTURES = {}
for format_name in ("PNG", "JPEG", "BMP", "WEBP"):
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(picture, format_name)
    PICTURES[format_name] = picture.getvalue()


def damaged(content: bytes, seed: int) -> bytes:
    """Cut off, or with some bytes changed, or with some put in."""
    generator = random.Random(seed)
    changed = bytearray(content[: generator.choice([len(content), generator.randrange(len(content))])])
    for _ in range(generator.randrange(1, 9)):
        place = generator.randrange(len(changed) + 1)
        changed[place : place + generator.choice([0, 1])] = bytes([generator.randrange(256)])
    return bytes(changed)


@contextmanager
def refused_in_one_sentence() -> Iterator[None]:
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        text = sentence(error)
        if "Expected " not in text or "\n" in text:
            raise AssertionError(text) from error


@once
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_configurations_of_any_bytes(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(content)
    with refused_in_one_sentence():
        assert isinstance(yaml.safe_load(find_config(str(file)).read_text(encoding="utf-8")), dict)


@once
@given(seed=st.integers(0, 2**32), content=st.sampled_from([CHECKPOINT.getvalue(), b"x" * 40, b"\x80\x02."]))
def test_damaged_checkpoints(seed: int, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "any.ckpt"
    file.write_bytes(damaged(content, seed))
    with refused_in_one_sentence():
        assert isinstance(read_checkpoint(file), dict)


@once
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(PICTURES)))
def test_damaged_images(seed: int, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("images")
    (folder / "class").mkdir()
    (folder / "class" / "a.png").write_bytes(damaged(PICTURES[name], seed))

    for read in (
        lambda: load_image_tree(folder, 1, (8, 8), folder / "cache"),
        lambda: list(ImageFiles([folder], ImageNet(resolution=8).decode, batch_size=1)),
    ):
        with refused_in_one_sentence():
            assert read()


def leaves(content: Any, path: tuple = ()) -> list[tuple]:
    """The way to each value of a configuration."""
    if not isinstance(content, dict):
        return [path]
    return [way for key, value in content.items() for way in leaves(value, (*path, key))]


ODD: st.SearchStrategy = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=5), st.just("nnmass.zoo.nothing")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_configurations_of_any_values(data: st.DataObject, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "configs" / "digits_dense.yaml").read_text())
    way = data.draw(st.sampled_from(leaves(content)))
    place = content
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = data.draw(ODD)
    file = tmp_path / "odd.yaml"
    file.write_text(yaml.safe_dump(content))
    with refused_in_one_sentence():
        parsed_fit(["--config", str(file)])
