"""Measures of many networks: what is known is kept, what fails is said, processes make no difference."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nnmass.studies.measuring import Subject, measure_subjects, missing_of, read_rows, update_rows
from nnmass.zoo import RandomSkipMLP
from nnmass.zoo.measures import Batch, measure_network


def prepare(links: int, seed: int) -> tuple[nn.Module, Batch]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 6, generator=generator)
    return RandomSkipMLP(6, 8, links, in_features=6, seed=seed), Batch(images, torch.arange(8) % 10)


def stoppable(seed: int) -> tuple[nn.Module, Batch]:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Ctrl-C is for the process that waits for the rows
        return prepare(2, seed)
    raise ValueError("Expected a process that leaves Ctrl-C to its parent.")


def broken(seed: int) -> tuple[nn.Module, Batch]:
    raise ValueError(f"Expected luck, but got {seed}.")


def subjects(setting: str = "noise") -> list[Subject]:
    return [Subject(f"mlp{links}", seed, setting, partial(prepare, links)) for links in (0, 2) for seed in (0, 1)]


def values(rows: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (row["network"], row["seed"]): {name: one["value"] for name, one in row["measured"].items()} for row in rows
    }


def test_rows_have_what_one_network_gives_alone() -> None:
    found = values(list(measure_subjects(subjects(), ["params", "grad_norm"])))
    assert list(found) == [("mlp0", 0), ("mlp0", 1), ("mlp2", 0), ("mlp2", 1)]
    network, batch = prepare(2, 1)
    alone = measure_network(network, batch, ["params", "grad_norm"], seed=1)
    assert found["mlp2", 1] == {name: one.value for name, one in alone.items()}
    assert found["mlp2", 0]["grad_norm"] != found["mlp2", 1]["grad_norm"]


def test_only_missing_measures_are_taken_and_the_others_kept() -> None:
    known = list(measure_subjects(subjects(), ["params"]))
    for row in known:
        row["measured"]["params"]["value"] = -1.0  # tells that it was not measured again
    rows = list(measure_subjects(subjects(), ["params", "nn_mass"], known=known))
    assert [set(row["measured"]) for row in rows] == [{"params", "nn_mass"}] * 4
    assert {row["measured"]["params"]["value"] for row in rows} == {-1.0}
    assert not list(missing_of(subjects(), ["nn_mass", "params"], rows))
    assert len(list(missing_of(subjects("CIFAR10"), ["params"], rows))) == 4


def test_a_network_that_cannot_be_built_says_why_and_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    wanted = [*subjects()[:1], Subject("broken", 3, "noise", broken)]
    rows = list(update_rows(file, wanted, ["params"]))
    assert rows[1] == {
        "network": "broken",
        "seed": 3,
        "setting": "noise",
        "error": "ValueError: Expected luck, but got 3.",
    }
    assert [row["network"] for row in read_rows(file)] == ["mlp0"]
    assert [row["network"] for row in update_rows(file, wanted, ["params"])] == ["broken"]


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    list(update_rows(file, subjects(), ["params"]))
    text = file.read_text()
    file.write_text(text[:-20])
    assert len(read_rows(file)) == 3
    assert [(row["network"], row["seed"]) for row in update_rows(file, subjects(), ["params"])] == [("mlp2", 1)]
    assert len(read_rows(file)) == 4


def test_an_unknown_measure_is_refused_before_any_network_is_built() -> None:
    with pytest.raises(ValueError, match="Expected the name of a measure, but got 'parms'; the nearest: params"):
        list(measure_subjects([Subject("broken", 0, "noise", broken)], ["parms"]))


@pytest.mark.slow
def test_several_processes_measure_the_same() -> None:
    names = ["params", "nn_mass", "grad_norm"]
    alone, together = (values(list(measure_subjects(subjects(), names, workers))) for workers in (1, 2))
    assert alone.keys() == together.keys()
    for key, found in alone.items():
        assert together[key] == pytest.approx(found, rel=1e-6)
    left_alone = [Subject("mlp2", seed, "noise", stoppable) for seed in (0, 1)]
    assert values(list(measure_subjects(left_alone, ["params"], 2))).keys() == {("mlp2", 0), ("mlp2", 1)}
