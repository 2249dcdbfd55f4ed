"""The results in docs/ are those of this code: a row of the MNIST study, trained alone, gets what stands there."""

import json
import random
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from nnmass.studies.definition import Row, Study, planned_rows

# Ten test images of 10,000: X of seed 0, trained both ways, differed by one after 56,280 steps. A processor without the
# AVX-512 of the committed trainings rounds in another order, which decides as much as another seed does.
TOLERANCE = 1e-3 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1e-2

COMMITTED = ROOT / "docs" / "results" / "mnist_mlp"


def rows_of(name: str) -> list[Row]:
    """The rows that a study of configs/ plans."""
    content = yaml.safe_load((ROOT / "configs" / "studies" / f"{name}.yaml").read_text())
    keys = ("engine", "configs", "networks", "changes", "seeds")
    study = Study(name, **{key: content[key] for key in keys if key in content})
    files = {Path(config).stem: ROOT / "configs" / config for config in study.configs}
    return planned_rows(study, {stem: yaml.safe_load(file.read_text()) for stem, file in files.items()})


def drawn() -> dict:
    """A row, another one every day; with links, because a chain at chance amplifies every rounding."""
    table = pd.read_csv(COMMITTED / "results.csv")
    rows = table[table["nn_mass"] > 0].to_dict("records")
    return random.Random(date.today().toordinal()).choice(rows)


@pytest.mark.parametrize("name", ["cifar10_small", "mlp_designs", "mnist_mlp", "synthetic_mlp"])
def test_the_committed_rows_are_those_of_the_study(name: str) -> None:
    committed = pd.read_csv(ROOT / "docs" / "results" / name / "results.csv")
    assert set(committed["row"]) <= {row.id for row in rows_of(name)}


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_a_committed_row_comes_out_again(mnist_files: Path, tmp_path: Path, nnmass: Callable) -> None:
    line = drawn()
    row = {row.id: row for row in rows_of("mnist_mlp")}[line["row"]]
    config = tmp_path / "row.yaml"
    config.write_text(yaml.safe_dump(row.configuration))
    options = ["--data.data_dir", mnist_files, "--trainer.accelerator", "cpu", "--output_dir", tmp_path]
    done = nnmass("fit", "--config", config, *options, seconds=1800, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "latest" / "run.json").read_text())
    assert run["topology"]["nn_mass"] == pytest.approx(line["nn_mass"])
    assert run["topology"]["num_params"] == line["num_params"]
    assert run["test_last"]["test/accuracy"] == pytest.approx(line["test_accuracy_last"], abs=TOLERANCE), line["row"]
    assert run["best_val_accuracy"] == pytest.approx(line["val_accuracy_best"], abs=TOLERANCE), line["row"]
