"""Every shipped study runs through the real command line, with fewer networks, seeds and steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from nnmass import studies
from nnmass.commands.main import main
from nnmass.runtime.class_paths import whole_class_path
from nnmass.runtime.config_names import STUDY_FOLDER, find_config
from nnmass.zoo import list_models

STUDIES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(STUDY_FOLDER.glob("*.yaml"))}
ONE_STEP = {f"limit_{stage}_batches": 1 for stage in ("train", "val", "test")}
# A photograph a class leaves nothing to split off, and 64 px show as much of the code as 224.
SMALL_DATA = {"ImageNet": {"val_on_test": True, "resolution": 64, "num_workers": 0}, "CIFAR100": {"val_size": 100}}


@pytest.fixture
def cifar100_images(tmp_path: Path) -> Path:
    """Folder of generated images, ``cifar100/{train,test}/CLASS/*.png``: the real ones come with no package."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(100):
            for number in range(2):
                file = tmp_path / "images" / "cifar100" / split / f"class_{label:02}" / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return tmp_path / "images"


REAL_DATA = {
    "CIFAR10": "cifar10_images",
    "CIFAR100": "cifar100_images",
    "ImageNet": "photographs",
    "MNIST": "mnist_files",
}


def data_set(study: dict[str, Any]) -> str:
    """Name the data set of a study's first configuration; the data sets of a study with several need no files."""
    configuration = yaml.safe_load(find_config(study["configs"][0]).read_text())
    data = study.get("changes", {}).get("data", {}).get("class_path") or configuration["data"]
    path = data if isinstance(data, str) else data["class_path"]
    return whole_class_path(path).rpartition(".")[2]


def small_network(networks: list[Any]) -> list[Any]:
    """A small network of a study that has links: many begin with networks of NN-Mass 0."""
    entry = networks[-1]
    return [list_models(entry)[:2][-1]] if isinstance(entry, str) else [{key: entry[key][-1:] for key in entry}]


def shortened(study: dict[str, Any]) -> dict[str, Any]:
    """The study with one network, one seed and one epoch; with the engine ``fit`` one step, and no Jacobians."""
    if study.get("engine") == "published":
        return study
    fits = study.get("engine", "fit") == "fit"
    changes = study.get("changes", {})
    given = changes.get("data", {})
    small = SMALL_DATA.get(data_set(study), {}) | ({"batch_size": 4} if fits else {})
    return {
        **study,
        "networks": small_network(study["networks"]),
        "seeds": 1,
        # Without curves of networks that are left out.
        "report": {key: value for key, value in study.get("report", {}).items() if key != "curves"},
        "jacobian": None if fits else study.get("jacobian"),  # of a wide network they take minutes
        "changes": {
            **changes,
            "model": {"warmup_epochs": 0},
            "data": {**given, "init_args": {**given.get("init_args", {}), **small}},
            "trainer": {"max_epochs": 1, **(ONE_STEP if fits else {})},
        },
    }


@pytest.mark.parts(3)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "digits_mlp" else pytest.mark.slow) for name in STUDIES],
)
def test_a_study_is_run_and_reported(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNMASS_DATA", "")  # --data-dir sets it for the processes of the rows
    study = STUDIES[name]
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(shortened(study)))
    folder = tmp_path / "out"
    words = ["study", "run", str(tmp_path / f"{name}.yaml"), "--output-dir", str(folder)]
    if study.get("configs") and data_set(study) in REAL_DATA:
        words += ["--data-dir", str(request.getfixturevalue(REAL_DATA[data_set(study)]))]
    assert main(words) == 0
    table = studies.load(folder)
    assert len(table) == len(study.get("accuracies") or study["configs"])
    assert set(table["status"]) == {"finished"}
    assert table["test_accuracy_last"].between(0, 1).all()
    assert (table["nn_mass"] > 0).all()
    assert ("mean_singular_value" in table) == ("jacobian" in study and "engine" in study)
    assert main(["study", "report", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} >= {"results.csv", "fits.csv", "accuracy.png", "report.html"}
    fits = pd.read_csv(folder / "fits.csv")
    printed = study.get("report", {}).get("published", {}).get("test accuracy", {})
    whole = [value for key, value in printed.items() if "," not in key]
    assert set(whole) <= set(fits["published"].dropna())
