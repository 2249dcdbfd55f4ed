"""A library's own words come with what they are about; what is recognised by its words is held here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from nnmass.commands.main import main
from nnmass.runtime.messages import sentence
from nnmass.zoo import RandomSkipMLP


def said(action: Callable) -> str:
    with pytest.raises(Exception) as raised:  # noqa: PT011, of any kind
        action()
    return sentence(raised.value)


class Mine(nn.Module):
    """A network whose own code is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, -1)


@pytest.mark.parametrize(
    ("action", "beginning"),
    [
        (Mine, f"Expected {__name__}.Mine to be made from its arguments, but torch says: "),
        (
            lambda: train_test_split([1, 2], random_state=-1),
            "Expected sklearn to do what it was asked for, but it says: ",
        ),
        (
            lambda: nn.Linear(3, 2)(torch.ones(2, 4)),
            "Expected torch to do what it was asked for, but it says: mat1 and",
        ),
        (lambda: RandomSkipMLP(0, 3, 2), "Expected depth to be an integer of at least 2, but got 0."),
        (
            lambda: nn.Linear(10**12, 10**4),
            "Expected the memory to hold the batches and the network, but it does not (",
        ),
        (lambda: np.ones(10**15), "Expected the memory to hold the batches and the network, but it does not ("),
        (lambda: bytearray(10**16), "Expected the memory to hold the batches and the network, but it does not"),
    ],
    ids=["class", "sklearn", "shapes", "ours", "allocator", "numpy", "python"],
)
def test_it_is_said_what_they_are_about(action: Callable, beginning: str) -> None:
    text = said(action)
    assert text.startswith(beginning)
    assert "\n" not in text


def test_a_sentence_of_ours_is_not_lost_where_a_library_s_error_was_its_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table = tmp_path / "latin.csv"
    table.write_bytes("file,label\na.png,Häuser\n".encode("latin-1"))
    words = ["fit", "--config", "digits_dense.yaml", "--data", "ImageTable", "--data.table", str(table)]
    assert main([*words, "--data.in_memory", "true", "--output_dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"Expected {table} to be text in UTF-8, but it is not.\n"


# runtime/option_errors.py reads jsonargparse's words: each pattern with an input that leads to it.
WORDS = {
    "--modle 3": "Expected a known option or key, but got 'modle'",
    "more": "Expected options that begin with --, but got 'more'",
    "--model.network.cell_dept 3": "Expected model.network to have only arguments of nnmass.zoo.RandomSkipDenseNet",
    "--seed_everything": "Expected --seed_everything to be followed by a value, but got nothing.",
    "--model.network nnmass.zoo.Nothing": "Expected model.network to be a class by its full name, such as",
    "--model.network nothing.at.all": "Expected model.network to be a class by its full name, such as",
    "--model.network timm.create_model": "Expected model.network to be a class, but got a function",
    "--data.batch_size x": "Expected data.batch_size to be a whole number, but got x.",
    "--data.batch_size [1]": "Expected data.batch_size to be a whole number, but got [1].",
    "--tf32 maybe": "Expected tf32 to be true or false, but got maybe.",
    "--model.schedule x": "Expected model.schedule to be one of cosine, constant, but got x.",
    "--trainer.callbacks 5": "Expected trainer.callbacks to be ",
    "--trainer 5": "Expected trainer to be given key by key, such as --trainer.max_epochs 3.",
    "--model true": "Expected model to be given key by key, such as --model.network nnmass.zoo.RandomSkipMLP.",
    "--model.num_classes 3": "Expected model.num_classes to be left to the data.",
}


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_jsonargparse_are_known(words: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["fit", "--config", "digits_dense.yaml", *words.split()]) == 2
    message = capsys.readouterr().err
    assert message.startswith(WORDS[words])
    assert message.count("\n") == 1
    assert "Subclass types" not in message


@pytest.mark.parametrize(
    "words", [["atlas", "--pattern", "resnet18"], ["shrink", "a", "b"], ["study", "run", "digits_mlp"]]
)
def test_no_machine_is_flooded_with_processes(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main([*words, "--workers", str(10**9)]) == 2
    assert capsys.readouterr().err == "Expected --workers to be at most 1,024, but got 1000000000.\n"
