"""Bad input of six kinds for each subcommand: exit status 2 and exactly one sentence, from a process of its own.

More of it stands beside what it is about, in test_cli_errors, test_design, test_listing and test_predict_export.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

DIGITS = "--config digits_dense"

# By subcommand: the command line, what its one sentence holds, and, in some, an environment variable.
MISTAKES: dict[str, list[tuple[str, ...]]] = {
    "fit": [
        (f"{DIGITS} --data.batch_size 0", "Expected data.batch_size to be at least 1, but got 0."),
        (f"{DIGITS} --data.val_size 3", "Expected data.val_size to be at least 10, but got 3."),
        (f"{DIGITS} --trainer.devices 0", "devices='0'"),
        (f"{DIGITS} --trainer.max_epochs -3", "`max_epochs` must be a non-negative integer or -1. You passed in -3."),
        (f"{DIGITS} --trainer.precision 12", "Expected trainer.precision to be one of"),
        (f"{DIGITS} --checkpoint_minutes -1", "Expected --checkpoint_minutes to be at least 0, but got -1.0."),
        (f"{DIGITS} --ckpt_path carries_code.ckpt", "carries_code.ckpt, but the file is damaged or carries code."),
        ("--config mnist_mlp --data.download false", "Expected MNIST in data.data_dir", "NNMASS_DATA=nowhere"),
        (DIGITS, "neither has started, with LOCAL_RANK or NODE_RANK set", "LOCAL_RANK=1"),
    ],
    "validate": [
        (DIGITS, "Expected validate to be given --ckpt_path (a file, last or best), but got none."),
        (f"{DIGITS} --ckpt_path nowhere.ckpt", "Expected --ckpt_path to be a file, last or best"),
        (f"{DIGITS} --ckpt_path text.ckpt", "text.ckpt, but the file is damaged or carries code."),
        (f"{DIGITS} --ckpt_path carries_code.ckpt", "carries_code.ckpt, but the file is damaged or carries code."),
        ("--config digits_dens --ckpt_path last", "did you mean digits_dense.yaml?"),
        (f"{DIGITS} --ckpt_path last --seed_everything x", "Expected seed_everything to be int, but got x."),
    ],
    "test": [
        (f"{DIGITS} --ckpt_path best", "Expected a run for --ckpt_path best in"),
        (f"{DIGITS} --ckpt_path best --data.batch_size 0", "Expected data.batch_size to be at least 1, but got 0."),
        ("--config broken.yaml --ckpt_path best", "Expected YAML in broken.yaml (line 2)"),
        ("--config list.yaml", "Expected keys and values in list.yaml, but it holds list."),
        ("--config bytes.yaml", "Expected YAML in bytes.yaml, but it holds other bytes."),
        ("--config python.yaml", "Expected YAML in python.yaml"),
        (f"{DIGITS} --ckpt_path best --modle 3", "Expected a known option or key, but got 'modle'"),
    ],
    "submit": [
        ("", "Expected submit to be followed by fit, but got nothing"),
        (f"walk {DIGITS}", "Expected submit to be followed by fit, but got 'walk'"),
        ("fit", "to be given, in a --config file or as options, but got nothing."),
        (f"fit {DIGITS} --nodes 0", "Expected --nodes to be a whole number of at least 1, but got 0."),
        (f"fit {DIGITS} --gpus-per-node x", "Expected --gpus-per-node to be a number of GPUs, but got x."),
        ("fit --config nowhere", "Expected --config to name a file or a shipped configuration, but got 'nowhere'"),
    ],
    "inspect": [
        ("", "Expected inspect to be given networks or --config, but got neither."),
        ("resnet5O", "did you mean resnet50?"),
        ("nowhere.ckpt", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        ("carries_code.ckpt", "Expected the checkpoint carries_code.ckpt to lie in a run folder"),
        ("--config broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        ("--config nothing.yaml", "Expected model.network, data to be given"),
        ("resnet18 --input 3", "did you mean --input_size?"),
    ],
    "gradients": [
        ("", "the following arguments are required: subject"),
        ("cnns", "invalid choice: 'cnns'"),
        ("mlp --seeds 0", "Expected --seeds to be a whole number of at least 1, but got 0."),
        ("mlp --images -3", "Expected --images to be a whole number of at least 1, but got -3."),
        ("mlp --data_dir nowhere", "Expected MNIST in data.data_dir"),
        ("mlp", "Expected MNIST in data.data_dir", "NNMASS_DATA=nowhere"),
    ],
    "study": [
        ("", "the following arguments are required: action, STUDY"),
        ("walk digits_mlp", "invalid choice: 'walk'"),
        ("run digits_mpl", "did you mean digits_mlp.yaml?"),
        ("run broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        ("run empty_study.yaml", "Expected the study's configs to name at least one configuration, but got none."),
        ("run no_network.yaml", "Expected networks to name networks of the zoo, but got 'mlp_x'."),
        ("run misspelt_study.yaml", "but got 'seed'; did you mean 'seeds'?"),
        ("report digits_mlp", "Expected a folder that study run has filled"),
    ],
    "atlas": [
        ("--pattern nothing*", "Expected --pattern to match names that timm knows, but got 'nothing*'."),
        ("--workers 0", "Expected --workers to be a whole number of at least 1, but got 0."),
        ("--accuracies nowhere.csv", "Expected --accuracies to be a file, but nowhere.csv does not exist."),
        ("--patern x", "did you mean --pattern?"),
        ("--output_dir text.ckpt --pattern resnet18", "Expected to use text.ckpt, but: File exists."),
    ],
}

FILES = {
    "text.ckpt": "no checkpoint",
    "list.yaml": "- 1\n",
    "broken.yaml": "a: [1\n",
    "nothing.yaml": "model: {}\n",
    "python.yaml": "a: !!python/object/apply:os.system ['touch harm']\n",
    "empty_study.yaml": "configs: []\n",
    "no_network.yaml": "configs: [mnist_mlp.yaml]\nnetworks: [mlp_x]\n",
    "misspelt_study.yaml": "configs: [mnist_mlp.yaml]\nseed: 3\n",
}


class Harm:
    """What a stranger's pickle may do when it is loaded."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch harm",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        (folder / name).write_text(content)
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    torch.save({"state_dict": {}, "extra": Harm()}, folder / "carries_code.ckpt")
    return folder


@pytest.mark.parametrize(
    ("subcommand", "mistake"),
    [(subcommand, mistake) for subcommand, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_it_gets_one_sentence(subcommand: str, mistake: tuple[str, ...], folder: Path, nnmass: Callable) -> None:
    words, sentence, *variables = mistake
    environment = dict(variable.split("=") for variable in variables)
    done = nnmass(subcommand, *words.split(), cwd=folder, **environment)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout
    assert not (folder / "harm").exists()


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, MISTAKES.values())) >= 50
    assert min(map(len, MISTAKES.values())) >= 5
