"""Bad input of six kinds for each subcommand: an exit status and exactly one sentence.

What a library function says of its arguments is tested beside it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from PIL import Image

from nnmass.commands.main import main

pytestmark = pytest.mark.slow

DIGITS = "--config digits_dense"


class Mistake(NamedTuple):
    """Words behind the subcommand, what the one sentence holds, and an environment variable."""

    kind: str
    words: str
    sentence: str
    variable: str = ""


MISTAKES: dict[str, list[Mistake]] = {
    "fit": [
        Mistake("config", "", "fit.model.network, fit.data to be given, in a --config file or as options"),
        Mistake("config", "--config nowhere/none.yaml", "none.yaml does not exist"),
        Mistake("config", "--config words.yaml", "Expected keys and values in words.yaml, but it holds str."),
        Mistake("config", "--config misspelt.yaml", "'model.netwrk'; did you mean 'model.network'?"),
        Mistake(
            "config", "--config class.yaml", "got RandomSkipDenseNett; did you mean 'nnmass.zoo.RandomSkipDenseNet'?"
        ),
        Mistake(
            "config", "digits_dense", "Expected options that begin with --, but got 'digits_dense'; a configuration"
        ),
        Mistake("config", f"{DIGITS} --config", "Expected --config to be followed by a value, but got nothing."),
        Mistake("name", "--config digit_dense.yaml", "did you mean digits_dense.yaml? there are: cifar100_dense.yaml"),
        Mistake("name", f"{DIGITS} --model.netwrk 3", "known option or key, but got 'model.netwrk'; did you mean"),
        Mistake("name", f"{DIGITS} --trainer.max_epoch 3", "did you mean 'trainer.max_epochs'?"),
        Mistake("name", f"{DIGITS} --model.network.cell_dept 3", "but got 'cell_dept'; did you mean 'cell_depth'?"),
        Mistake(
            "name",
            f"{DIGITS} --model.network nnmass.zoo.RandomSkipDenseNe",
            "did you mean 'nnmass.zoo.RandomSkipDenseNet'?",
        ),
        Mistake(
            "name", f"{DIGITS} --model.network mine.Mine", "modules are looked for in this folder and on PYTHONPATH."
        ),
        Mistake("name", f"{DIGITS} --model.network timm.create_model", "to be a class, but got a function"),
        Mistake("name", f"{DIGITS} --model.optimizer Adamm", "did you mean 'torch.optim.Adam'?"),
        Mistake(
            "name", f"{DIGITS} --model.optimizer.lrr 1", "only arguments of torch.optim.SGD, but got 'lrr'; did you"
        ),
        Mistake(
            "name", f"{DIGITS} --model.schedule linear", "model.schedule to be one of cosine, constant, but got linear"
        ),
        Mistake(
            "name",
            f"{DIGITS} --data Digit",
            "such as nnmass.datamodules.CIFAR10, but got Digit; did you mean 'nnmass.datamodules.",
        ),
        Mistake("name", f"{DIGITS} --data.val_siz 3", "but got 'val_siz'; did you mean 'val_size'?"),
        Mistake(
            "name", f"{DIGITS} --trainer.callbacks EarlyStoping", "did you mean 'pytorch_lightning.callbacks.EarlyS"
        ),
        Mistake(
            "name", f"{DIGITS} --trainer.logger CometLogger", "Expected comet-ml to be installed, but it is not; pip"
        ),
        Mistake(
            "number", f"{DIGITS} --model.network.cell_depth four", "cell_depth to be a whole number or a list, but got"
        ),
        Mistake(
            "number", f"{DIGITS} --model.network.cell_depth -3", "cell_depth to be an integer of at least 1, but got -3"
        ),
        Mistake(
            "number", f"{DIGITS} --model.network.tc [1,2]", "tc to be one number or one per cell (3 cells), but got 2"
        ),
        Mistake("number", f"{DIGITS} --model.network.width_multiplier inf", "width_multiplier to be a finite number"),
        Mistake(
            "number", f"{DIGITS} --model.network.num_classes 3", "to be left to the data, which have 10, but got 3."
        ),
        Mistake(
            "number", f"{DIGITS} --model.optimizer.init_args.lr nan", "optimizer.lr to be a finite number, but got nan."
        ),
        Mistake("number", f"{DIGITS} --seed_everything true", "seed_everything to be a whole number, but got True"),
        Mistake("number", f"{DIGITS} --seed_everything -1", "a whole number from 0 to 4294967295, but got -1."),
        Mistake("number", f"{DIGITS} --data.batch_size 0", "Expected data.batch_size to be at least 1, but got 0."),
        Mistake("number", f"{DIGITS} --data.batch_size 1.5", "data.batch_size to be a whole number, but got 1.5."),
        Mistake("number", f"{DIGITS} --data.val_size 3", "Expected data.val_size to be at least 10, but got 3."),
        Mistake("number", f"{DIGITS} --trainer.devices 0", "trainer.devices to be at least 1, but got 0."),
        Mistake("number", f"{DIGITS} --trainer.devices 999", "processes on the cores of this machine, but got 999."),
        Mistake("number", f"{DIGITS} --trainer.max_epochs -3", "trainer.max_epochs to be at least -1, but got -3."),
        Mistake("number", f"{DIGITS} --trainer.accumulate_grad_batches 0", "to be at least 1, but got 0."),
        Mistake("number", f"{DIGITS} --trainer.precision 12", "Expected trainer.precision to be one of"),
        Mistake("number", f"{DIGITS} --checkpoint_minutes -1", "--checkpoint_minutes to be at least 0, but got -1.0."),
        Mistake(
            "file", f"{DIGITS} --output_dir words.yaml/runs", "Expected --output_dir to be a folder that can be written"
        ),
        Mistake("file", f"{DIGITS} --trainer.default_root_dir x", "Expected --output_dir to say where the results go"),
        Mistake(
            "file", "--config cifar10_dense --data.data_dir none --data.download false", "Expected CIFAR10 in data.data"
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path last", "an unfinished run"),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path none.ckpt", "to be a file, last or best, but got 'none.ckpt'."),
        Mistake(
            "checkpoint", f"{DIGITS} --ckpt_path text.ckpt", "text.ckpt, but the file is damaged or no checkpoint."
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path code.ckpt", "carries code (posix.system), which is not run."),
        Mistake(
            "checkpoint",
            f"{DIGITS} --output_dir more --ckpt_path run/checkpoints/best.ckpt --model.network.width_multiplier 2",
            "of this configuration, but model.network.init_args.width_multiplier is 1.0 there and 2.0 here",
        ),
        Mistake(
            "environment", "--config mnist_mlp --data.download false", "Expected MNIST in data.", "NNMASS_DATA=none"
        ),
        Mistake("environment", DIGITS, "Expected LOCAL_RANK to be unset or 0", "LOCAL_RANK=1"),
    ],
    "validate": [
        Mistake("name", "--config digits_dens --ckpt_path last", "did you mean digits_dense.yaml?"),
        Mistake("number", f"{DIGITS} --ckpt_path last --seed_everything x", "to be a whole number, but got x."),
        Mistake(
            "checkpoint", DIGITS, "Expected validate to be given --ckpt_path (a file, last or best), but got none."
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path nowhere.ckpt", "Expected --ckpt_path to be a file, last or best"),
        Mistake(
            "checkpoint", f"{DIGITS} --ckpt_path text.ckpt", "text.ckpt, but the file is damaged or no checkpoint."
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path code.ckpt", "carries code (posix.system), which is not run."),
        Mistake(
            "environment", "--config mnist_mlp --ckpt_path last", "Expected a run for --ckpt_path", "NNMASS_DATA=none"
        ),
    ],
    "test": [
        Mistake("config", "--config broken.yaml --ckpt_path best", "Expected YAML in broken.yaml (line 2)"),
        Mistake("config", "--config list.yaml", "Expected keys and values in list.yaml, but it holds list."),
        Mistake("config", "--config bytes.yaml", "Expected YAML in bytes.yaml, but it holds other bytes."),
        Mistake("config", "--config python.yaml", "Expected YAML in python.yaml"),
        Mistake("name", f"{DIGITS} --ckpt_path best --modle 3", "Expected a known option or key, but got 'modle'"),
        Mistake(
            "number", f"{DIGITS} --ckpt_path best --data.batch_size 0", "data.batch_size to be at least 1, but got 0."
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path best", "Expected a run for --ckpt_path best in"),
        Mistake(
            "checkpoint",
            f"{DIGITS} --ckpt_path run/checkpoints/best.ckpt --model.network.width_multiplier 2",
            "is (16, 1, 3, 3) in the checkpoint and (32, 1, 3, 3) in the network; it was trained with --config",
        ),
        Mistake("checkpoint", f"{DIGITS} --ckpt_path numbers.ckpt", "no tensor but int in the checkpoint"),
    ],
    "predict": [
        Mistake("config", f"{DIGITS} --ckpt_path best", "Expected a checkpoint and images, as in nnmass predict"),
        Mistake("name", "CKPT", "Expected nnmass predict to be given IMAGES, but got nothing"),
        Mistake("file", "CKPT nowhere", "Expected images to be files or folders, but nowhere does not exist."),
        Mistake("file", "CKPT none", "in the folder, but found none in none."),
        Mistake("file", "CKPT broken", "Expected an image in broken/a.png, but it cannot be decoded"),
        Mistake("file", "CKPT images --output list.yaml", "Expected --output to end in .csv or .json, but got"),
        Mistake("number", "CKPT images --batch-size x", "Expected --batch-size to be a whole number of at least 1"),
        Mistake("number", "CKPT images --top-k 0", "Expected --top-k to be a whole number of at least 1, but got 0."),
        Mistake("checkpoint", "code.ckpt images", "carries code (posix.system)"),
        Mistake("checkpoint", "nowhere.ckpt images", "Expected a checkpoint, but nowhere.ckpt does not exist."),
    ],
    "submit": [
        Mistake("config", "fit", "to be given, in a --config file or as options, but got nothing; nnmass list configs"),
        Mistake(
            "config", "fit --config nowhere", "Expected --config to name a file or a shipped configuration, but got"
        ),
        Mistake("name", "", "Expected submit to be followed by fit, but got nothing"),
        Mistake("name", f"walk {DIGITS}", "Expected submit to be followed by fit, but got 'walk'"),
        Mistake("number", f"fit {DIGITS} --nodes 0", "Expected --nodes to be a whole number of at least 1, but got 0."),
        Mistake(
            "number", f"fit {DIGITS} --gpus-per-node x", "Expected --gpus-per-node to be a number of GPUs, but got x."
        ),
        Mistake(
            "number", f"fit {DIGITS} --dry-run --data.batch_size 0", "data.batch_size to be at least 1, but got 0."
        ),
        Mistake(
            "checkpoint", f"fit {DIGITS} --dry-run --ckpt_path none.ckpt", "a file, last or best, but got 'none.ckpt'."
        ),
        Mistake("environment", f"fit {DIGITS}", "Expected sbatch on this machine, but there is none", "PATH=/nowhere"),
    ],
    "export": [
        Mistake("name", "", "Expected nnmass export to be given checkpoint, file, but got nothing"),
        Mistake(
            "name", "run/checkpoints/best.ckpt network.tflite", "to end in .onnx or .pt2, but got 'network.tflite'."
        ),
        Mistake("file", "config.yaml network.pt2", "Expected a checkpoint (.ckpt) to export, but got config.yaml."),
        Mistake("file", "run/checkpoints/best.ckpt list.yaml/a.pt2", "Expected to use list.yaml, but: File exists."),
        Mistake("checkpoint", "nowhere.ckpt network.pt2", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        Mistake("checkpoint", "text.ckpt network.pt2", "Expected weights in text.ckpt, but the file is damaged"),
        Mistake(
            "checkpoint", "run/checkpoints/code.ckpt network.pt2", "carries code (posix.system), which is not run."
        ),
    ],
    "inspect": [
        Mistake("config", "--config broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        Mistake("config", "--config nothing.yaml", "Expected model.network, data to be given"),
        Mistake(
            "config", "--config popen.yaml", "model.optimizer to be a class by its full name, such as torch.optim.SGD"
        ),
        Mistake("name", "", "Expected inspect to be given networks or --config, but got neither."),
        Mistake("name", "resnet18 --device cpu", "Expected --device with --ldi only, but got it with no --ldi."),
        Mistake("environment", "resnet18 --ldi --device cuda:1", "no CUDA device here.", "CUDA_VISIBLE_DEVICES="),
        Mistake("name", "resnet5O", "did you mean 'resnet50'?"),
        Mistake("name", "resnet18 --input 3", "did you mean --input-size?"),
        Mistake(
            "number", "resnet18 --input_size 3,x", "to be whole numbers with commas, such as 3,224,224, but got '3,x'."
        ),
        Mistake("file", "resnet18 --csv images", "Expected the name of a file to write, but images is a folder."),
        Mistake("checkpoint", "nowhere.ckpt", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        Mistake("checkpoint", "code.ckpt", "carries code (posix.system), which is not run."),
        Mistake("checkpoint", "run/checkpoints/numbers.ckpt", "network.cells.0.layers.0.links is a int."),
        Mistake("checkpoint", "run/checkpoints/text.ckpt", "text.ckpt, but the file is damaged or of another kind."),
    ],
    "measure": [
        Mistake("config", "broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        Mistake("name", "", "Expected nnmass measure to be given NETWORK, but got nothing"),
        Mistake("name", "resnet18", "Expected --data with the network resnet18"),
        Mistake("name", "resnet5O --data noise", "did you mean 'resnet50'?"),
        Mistake("name", "resnet18 --data noise --measures synflaw", "Expected the name of a measure"),
        Mistake("number", "resnet18 --data noise --seeds 0", "Expected --seeds to be a whole number of at least 1"),
        Mistake("file", "resnet18 --data noise --output a.txt", "Expected --output to end in .csv or .json"),
        Mistake("checkpoint", "nowhere.ckpt --data noise", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        Mistake("checkpoint", "code.ckpt --data noise", "carries code (posix.system), which is not run."),
    ],
    "design": [
        Mistake("config", "--like broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        Mistake("name", "", "Expected --max-params, --max-macs or a reference, --like, but got none of them."),
        Mistake(
            "name", "--like digits_dens", "Expected --like to name a file or a shipped configuration, but got 'digits_"
        ),
        Mistake(
            "name", "--like resnet18_cifar", "Expected --like to be one of RandomSkipDenseNet, RandomSkipMLP, MobileNet"
        ),
        Mistake("name", "--like mnist_mlp --rule best", "Expected --rule to be one of highest-mass, fewest-params"),
        Mistake(
            "number",
            "--like mnist_mlp --max-params 5Mega",
            "a positive number such as 800K, 5M or 0.8G, but got 5Mega.",
        ),
        Mistake("number", "--like mnist_mlp --max-params -5M", "one that begins with - is written --max-params=-1."),
        Mistake("number", "--like mnist_mlp --max-latency 5", "a time such as 800us, 5ms or 0.1s, but got 5."),
        Mistake("number", "--like mnist_mlp --tc 9:3", "to rise from its first number to its second, but got 9:3."),
        Mistake("number", "--like mnist_mlp --depth 99999", "to hold numbers of at most 10000, but got 99999."),
        Mistake("number", "--like mnist_mlp --max-params 1K", "the smallest, depth 4, width 8, tc 0, has 6,"),
        Mistake(
            "file", "--like mnist_mlp --output_dir images", "to be a new or empty folder, but images holds something."
        ),
        Mistake("checkpoint", "--like nowhere.ckpt", "Expected a checkpoint, but nowhere.ckpt does not exist."),
    ],
    "gradients": [
        Mistake("name", "", "Expected nnmass gradients to be given subject, but got nothing"),
        Mistake("name", "cnns", "to be one of simulation, mlp, cnn, but got 'cnns'; did you mean cnn?"),
        Mistake("number", "mlp --seeds 0", "Expected --seeds to be a whole number of at least 1, but got 0."),
        Mistake("number", "mlp --images -3", "Expected --images to be a whole number of at least 1, but got -3."),
        Mistake("file", "mlp --data_dir nowhere", "Expected MNIST in data.data_dir"),
        Mistake("environment", "mlp", "Expected MNIST in data.data_dir", "NNMASS_DATA=nowhere"),
    ],
    "study": [
        Mistake("config", "run broken.yaml", "Expected YAML in broken.yaml (line 2)"),
        Mistake("config", "run empty_study.yaml", "Expected the study's configs to name at least one configuration"),
        Mistake("config", "run misspelt_study.yaml", "but got 'seed'; did you mean 'seeds'?"),
        Mistake(
            "config", "run no_config.yaml", "Expected the study's configs to name a file or a shipped configuration"
        ),
        Mistake("name", "", "Expected nnmass study to be given action, but got nothing"),
        Mistake(
            "name",
            "rnu digits_mlp",
            "to be one of plan, run, submit, status, report, compare, benchmark, but got 'rnu'; did you",
        ),
        Mistake("name", "run digits_mpl", "did you mean digits_mlp.yaml?"),
        Mistake("name", "run no_network.yaml", "of the zoo, of timm or torchvision, but got 'mlp_x'"),
        Mistake("name", "plan digits_mlp --sbatch x", "Expected --sbatch with submit only, but got it with plan."),
        Mistake(
            "number", "run digits_mlp --workers 0", "Expected --workers to be a whole number of at least 1, but got 0."
        ),
        Mistake("file", "report digits_mlp", "Expected a folder that study run has filled"),
        Mistake("file", "report images", "Expected a study's folder, but images holds no study.yaml."),
    ],
    "check": [
        Mistake("name", "--device gpu", "Expected --device to be auto, cpu, cuda or cuda:N, but got 'gpu'."),
        Mistake("name", "--devise cpu", "Expected a known option, but got '--devise'; did you mean --device?"),
        Mistake("name", "cpu", "Expected a known option, but got 'cpu'"),
        Mistake(
            "number", "--device cuda:one", "Expected --device to be auto, cpu, cuda or cuda:N, but got 'cuda:one'."
        ),
        Mistake("environment", "--device cuda", "but torch sees no CUDA device here.", "CUDA_VISIBLE_DEVICES="),
    ],
    "atlas": [
        Mistake("name", "--pattern nothing*", "Expected --pattern to match names that timm knows, but got 'nothing*'."),
        Mistake("name", "--patern x", "did you mean --pattern?"),
        Mistake("number", "--workers 0", "Expected --workers to be a whole number of at least 1, but got 0."),
        Mistake(
            "file", "--accuracies nowhere.csv", "Expected --accuracies to be a file, but nowhere.csv does not exist."
        ),
        Mistake(
            "file", "--accuracies list.yaml --pattern resnet18", "Expected list.yaml to have columns model and top1"
        ),
        Mistake("file", "--output_dir text.ckpt --pattern resnet18", "Expected to use text.ckpt, but: File exists."),
    ],
    "shrink": [
        Mistake("name", "", "Expected nnmass shrink to be given SOURCE, DEST, but got nothing"),
        Mistake("name", "images small --sides 8", "Expected a known option, but got '--sides'; did you mean --side?"),
        Mistake("number", "images small --side 0", "Expected --side to be a whole number of at least 8, but got 0."),
        Mistake("number", "images small --quality 100", "Expected --quality to be at most 95, but got 100."),
        Mistake("file", "nowhere small", "Expected SOURCE to be a folder, but got nowhere."),
        Mistake("file", "images images/small", "Expected DEST to be outside of SOURCE (images), but got images/small."),
        Mistake("file", "images small", "Expected images in CLASS/ or SPLIT/CLASS/ below images, but found none."),
        Mistake("file", ". none", "Expected DEST to be outside of SOURCE (.), but got none."),
    ],
    "list": [
        Mistake("name", "", "Expected nnmass list to be given kind, but got nothing"),
        Mistake("name", "MODELS", "one of models, configs, studies, runs, but got 'MODELS'; did you mean models?"),
        Mistake("name", "models nothing*", "Expected the pattern to match some of the models, but got 'nothing*'."),
        Mistake("name", "models --long", "Expected a known option, but got '--long'"),
        Mistake("name", "configs a b", "Expected a known option, but got 'b'"),
    ],
    "": [
        Mistake("name", "fitt", "but got 'fitt'; did you mean fit?"),
        Mistake("name", "--versoin", "Expected a subcommand first, but got '--versoin'; did you mean --version?"),
        Mistake("config", "--config digits_dense.yaml fit", "as in: nnmass fit --config ..."),
    ],
}

FILES = {
    "text.ckpt": "no checkpoint",
    "words.yaml": "just words",
    "list.yaml": "- 1\n",
    "broken.yaml": "a: [1\n",
    "misspelt.yaml": "model:\n  netwrk: 3\n",
    "class.yaml": "model:\n  network:\n    class_path: RandomSkipDenseNett\ndata: datamodules.Digits\n",
    "nothing.yaml": "model: {}\n",
    "python.yaml": "a: !!python/object/apply:os.system ['touch harm']\n",
    "popen.yaml": yaml.safe_dump(
        {
            "model": {
                "network": {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"depth": 3, "width": 2, "tc": 1}},
                "optimizer": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "harm"]}},
            },
            "data": "nnmass.datamodules.Digits",
        }
    ),
    "empty_study.yaml": "configs: []\n",
    "no_config.yaml": "configs: [nowhere.yaml]\n",
    "no_network.yaml": "configs: [mnist_mlp.yaml]\nnetworks: [mlp_x]\n",
    "misspelt_study.yaml": "configs: [mnist_mlp.yaml]\nseed: 3\n",
    "broken/a.png": "no image",
    "images/note.txt": "nothing",
    "none/note.txt": "nothing",
}


class Harm:
    """Harm that a stranger's pickle may do when it is loaded."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch harm",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the mistakes name, among it a run of one step."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    Image.new("L", (8, 8)).save(folder / "images" / "a.png")
    limits = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert main(["fit", *DIGITS.split(), "--output_dir", str(folder / "first"), *limits]) == 0
    (folder / "run").symlink_to((folder / "first" / "latest").resolve())
    checkpoints = folder / "run" / "checkpoints"
    checkpoint = torch.load(checkpoints / "best.ckpt", weights_only=True)
    numbers = {**checkpoint, "state_dict": dict.fromkeys(checkpoint["state_dict"], 3)}
    for place in (folder, checkpoints):
        torch.save({"state_dict": {}, "extra": Harm()}, place / "code.ckpt")
        torch.save(numbers, place / "numbers.ckpt")
        (place / "text.ckpt").write_text("no checkpoint")
    return folder


def wrong(mistake: Mistake, status: int, out: str, err: str) -> str:
    """Describe what is wrong with the answer; empty if nothing is."""
    said = err.strip()
    right = status == 2 and mistake.sentence in said and len(said.splitlines()) == 1 and "Traceback" not in out
    return "" if right else f"{mistake.words}: {status}, {said}"


@pytest.mark.parametrize("subcommand", MISTAKES)
def test_each_gets_one_sentence(
    subcommand: str, folder: Path, nnmass: Callable, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of each subcommand, and those of the environment, in a process of their own."""
    answers = []
    monkeypatch.chdir(folder)
    for number, mistake in enumerate(MISTAKES[subcommand]):
        words = mistake.words.replace("CKPT", "run/checkpoints/best.ckpt").split()
        words = [*[subcommand][: len(subcommand)], *words]
        if number == 0 or mistake.variable:
            environment = dict([mistake.variable.split("=")]) if mistake.variable else {}
            done = nnmass(*words, cwd=folder, **environment)
            answers.append(wrong(mistake, done.returncode, done.stdout, done.stderr))
        else:
            answers.append(wrong(mistake, main(words), *capsys.readouterr()))
    assert not any(answers), "\n".join(filter(None, answers))
    assert not (folder / "harm").exists()


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, MISTAKES.values())) >= 130
    assert min(len(mistakes) for subcommand, mistakes in MISTAKES.items() if subcommand) >= 5
    kinds = {mistake.kind for mistakes in MISTAKES.values() for mistake in mistakes}
    assert kinds == {"config", "name", "number", "file", "checkpoint", "environment"}
