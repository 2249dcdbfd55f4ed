"""predict: the classes of images, by a checkpoint alone."""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.devices import device_name, device_named
from nnmass.commands.options.files import new_file, require_new
from nnmass.commands.options.parser import Parser, at_least, user_path

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nnmass.datamodules.image_files import ImageFiles
    from nnmass.zoo import TrainedNetwork

__all__ = ["class_probabilities", "run"]


def run(arguments: Sequence[str]) -> int:
    """Classify images, and write a table of their classes.

    Args:
        arguments: ``predict`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass predict",
        "Classify images with a checkpoint, which says itself how its network takes them.",
        [
            "nnmass predict runs/latest/checkpoints/best.ckpt photos",
            "nnmass predict best.ckpt a.jpg b.png --top-k 5 --output classes.json",
        ],
    )
    parser.add_argument("checkpoint", type=_checkpoint, help="checkpoint of a run, or a trained network's name")
    parser.add_argument("images", nargs="+", type=user_path, metavar="IMAGES", help="image files, folders of images")
    parser.add_argument("--top-k", type=at_least("--top-k", 1), default=1, help="classes per image (1)")
    parser.add_argument(
        "--output",
        type=new_file("--output", ".csv", ".json"),
        default=Path("predictions.csv"),
        help="file to write: its ending decides the format, .csv or .json (predictions.csv)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument("--batch-size", type=at_least("--batch-size", 1), default=128, help="images at a time (128)")
    parser.add_argument("--flip", action="store_true", help="mean of each image's and its mirror image's probabilities")
    parser.add_argument("--device", type=device_name, default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    options = parser.parse_args(_refuse_old_words(list(arguments)[1:]))
    require_new(options.output, options.overwrite)
    from nnmass.commands.options.trained import find_trained
    from nnmass.datamodules.image_files import ImageFiles
    from nnmass.runtime.files import write_atomically
    from nnmass.runtime.quiet import quieten

    quieten()
    device = device_named(options.device)
    trained = find_trained(options.checkpoint)
    if trained.transform is None:
        raise ValueError(f"Expected a network of images, but {options.checkpoint} takes the vectors of {trained.data}.")
    images = ImageFiles(options.images, trained.transform.decode, options.batch_size)
    rows = _classified(trained, images, device, options.top_k, options.flip)
    write_atomically(options.output, _json(rows) if options.output.suffix == ".json" else _csv(rows, options.top_k))
    print(f"Written to {options.output}: {len(rows):,} images.")
    if images.unread:
        print("\n".join(images.unread), file=sys.stderr)
        rest = f"{len(images.unread):,} could not be decoded and are not in {options.output}"
        print(f"Expected whole images alone, but {rest}.", file=sys.stderr)
        return 1
    return 0


def class_probabilities(network: "nn.Module", inputs: "Tensor", flip: bool = False) -> "Tensor":
    """Probabilities (N, classes) of a batch of samples.

    Args:
        network: In evaluation mode.
        inputs: (N, C, H, W), normalised, on the network's device.
        flip: Give the mean of an image and its mirror image.
    """
    probabilities: Tensor = network(inputs).float().softmax(dim=-1)
    if not flip:
        return probabilities
    return (probabilities + network(inputs.flip(-1)).float().softmax(dim=-1)) / 2


def _classified(
    trained: "TrainedNetwork", images: "ImageFiles", device: "torch.device", top_k: int, flip: bool
) -> list[tuple[str, list[tuple[str, float]]]]:
    """The names of the files, each with its most probable classes."""
    import torch
    from rich.progress import Progress

    from nnmass.datamodules.listing import as_text
    from nnmass.zoo.precision import tf32

    assert trained.transform is not None
    assert trained.classes is not None
    network, rows = trained.network.to(device), []
    shown = sys.stdout.isatty()
    with Progress(transient=True) if shown else nullcontext() as progress, torch.inference_mode(), tf32(True):
        task = progress.add_task("Classifying", total=len(images.paths)) if progress else None
        for pixels, indices in images:
            inputs = trained.transform.normalise(pixels.to(device))
            probabilities = class_probabilities(network, inputs, flip)
            if probabilities.shape[1] != len(trained.classes):
                found = f"{probabilities.shape[1]} classes and has {len(trained.classes)} names"
                raise ValueError(f"Expected as many names of classes as classes, but the network tells {found}.")
            best = probabilities.topk(min(top_k, len(trained.classes)))
            for index, values, labels in zip(indices, best.values.tolist(), best.indices.tolist(), strict=True):
                names = [trained.classes[label] for label in labels]
                rows.append((as_text(images.paths[index]), list(zip(names, values, strict=True))))
            if progress and task is not None:
                progress.update(task, completed=indices[-1] + 1)
    return rows


def _csv(rows: list[tuple[str, list[tuple[str, float]]]], top_k: int) -> str:
    """One line per image, or with several classes one per image and class."""
    import pandas as pd

    from nnmass.runtime.csv_text import csv_text

    lines = [
        (file, rank, name, probability)
        for file, classes in rows
        for rank, (name, probability) in enumerate(classes, start=1)
    ]
    table = pd.DataFrame(lines, columns=["file", "rank", "class", "probability"]).astype({"probability": "float32"})
    return csv_text(table.drop(columns="rank") if top_k == 1 else table)


def _json(rows: list[tuple[str, list[tuple[str, float]]]]) -> str:
    """A list of files, each with its classes and their probabilities."""
    listed: list[dict[str, Any]] = [
        {"file": file, "classes": [{"class": name, "probability": value} for name, value in classes]}
        for file, classes in rows
    ]
    return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"


def _checkpoint(text: str) -> Path:
    return Path(text).expanduser()


def _refuse_old_words(words: list[str]) -> list[str]:
    """Say how the command is spelt to whoever writes it as it was before checkpoints described their networks.

    Raises:
        ValueError: If a word is one of the earlier options.
    """
    for word in words:
        option = word.partition("=")[0]
        if option in ("--config", "-c", "--ckpt_path", "--images", "--predictions"):
            example = "nnmass predict runs/latest/checkpoints/best.ckpt photos --output predictions.csv"
            raise ValueError(f"Expected a checkpoint and images, as in {example}, but got {option}.")
    return words
