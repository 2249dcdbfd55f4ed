"""export: a trained network for programs that have no torch, or none of this code."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from nnmass.commands.options.files import new_file, require_new
from nnmass.commands.options.parser import Parser, refuse_unread

__all__ = ["run"]

_TOLERANCE = 1e-4


def run(arguments: Sequence[str]) -> int:
    """Export the network of a checkpoint, and hold what was written against the network itself.

    Args:
        arguments: ``export`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass export",
        "Write the network of a checkpoint as ONNX (.onnx) or as a program of torch.export (.pt2), and check it.\n"
        "It maps images, in batches of any size, to probabilities; classes and preprocessing are in its metadata.",
        ["nnmass export runs/latest/checkpoints/best.ckpt network.onnx"],
    )
    parser.add_argument("checkpoint", type=_checkpoint, help="checkpoint, or a trained network's name")
    parser.add_argument(
        "file", type=new_file("the file", ".onnx", ".pt2"), help="file to write: its ending decides the format"
    )
    parser.add_argument("--input", choices=("uint8", "float"), help="images in bytes, or in [0, 1] (uint8)")
    parser.add_argument("--raw", action="store_true", help="from normalised images to logits, as in the training")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    options = parser.parse_args(list(arguments)[1:])
    if options.raw:
        refuse_unread("--raw", "images", input=options.input)
    require_new(options.file, options.overwrite)
    from nnmass.commands.options.trained import find_trained
    from nnmass.runtime.files import write_atomically
    from nnmass.runtime.quiet import quieten

    if options.file.suffix == ".onnx":
        _require_onnx()
    quieten()
    from nnmass.zoo.weights.export import exportable, largest_difference, write_onnx, write_program

    trained = find_trained(options.checkpoint)
    if trained.transform is None and options.input is not None:
        refuse_unread(f"the vectors of {trained.data}", "images", input=options.input)
    part = exportable(trained, "normalised" if options.raw else options.input or "uint8")
    options.file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        written = Path(scratch) / f"network{options.file.suffix}"
        write = write_onnx if options.file.suffix == ".onnx" else write_program
        difference = largest_difference(part, write(part, written))
        if not difference <= _TOLERANCE:
            raise ValueError(
                f"Expected the exported network to answer as the network does, but it differs by {difference:.1e}."
            )
        write_atomically(options.file, written.read_bytes())
    shape, kind = " x ".join(map(str, trained.input_size or ())), part.facts["input"]
    print(
        f"Written to {options.file}: {part.input_name} N x {shape} ({kind}); its {part.output_name} differ by at most "
        f"{difference:.1e} of the largest."
    )
    return 0


def _checkpoint(text: str) -> Path:
    from nnmass.zoo.weights.pretrained import list_pretrained

    if Path(text).expanduser().is_dir():
        return Path(text).expanduser()  # whoever reads it says what the folder holds
    if not text.endswith(".ckpt") and text not in list_pretrained():
        raise ArgumentTypeError(f"Expected a checkpoint (.ckpt) to export, but got {text}.")
    return Path(text).expanduser()


def _require_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"Expected {error.name} for ONNX; pip install 'nnmass[onnx]' brings it.") from error
