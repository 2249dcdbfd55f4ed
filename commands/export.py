"""export: a trained network for programs that have no torch, or none of this code."""

import io
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nnmass.commands.options.parser import Parser

if TYPE_CHECKING:
    from torch import Tensor, nn

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
        "It maps inputs as the data module prepares them, in batches of any size, to logits.",
        ["nnmass export runs/latest/checkpoints/best.ckpt network.onnx"],
    )
    parser.add_argument("checkpoint", type=_checkpoint, help="checkpoint of a run")
    parser.add_argument("file", type=_new_file, help="file to write: its ending decides the format")
    options = parser.parse_args(list(arguments)[1:])
    from nnmass.commands.options.named_networks import find_network
    from nnmass.runtime.files import write_atomically
    from nnmass.runtime.quiet import quieten

    if options.file.suffix == ".onnx":
        _require_onnx()
    quieten()
    import torch

    named = find_network(str(options.checkpoint))
    network = named.network.eval()
    assert named.input_size is not None  # a run's configuration names its data
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(size, *named.input_size, generator=generator) for size in (2, 1, 5)]
    options.file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        part = Path(scratch) / f"network{options.file.suffix}"
        write = _write_onnx if options.file.suffix == ".onnx" else _write_program
        difference = write(network, batches, part)
        if not difference <= _TOLERANCE:
            raise ValueError(
                f"Expected the exported network to answer as the network does, but it differs by {difference:.1e}."
            )
        write_atomically(options.file, part.read_bytes())
    shape = " x ".join(map(str, named.input_size))
    print(
        f"Written to {options.file}: inputs N x {shape}; its logits differ by at most {difference:.1e} of the largest."
    )
    return 0


def _checkpoint(text: str) -> Path:
    if not text.endswith(".ckpt"):
        raise ArgumentTypeError(f"Expected a checkpoint (.ckpt) to export, but got {text}.")
    return Path(text).expanduser()


def _new_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix not in (".onnx", ".pt2"):
        raise ArgumentTypeError(f"Expected the file to end in .onnx or .pt2, but got {text!r}.")
    if path.exists():
        raise ArgumentTypeError(f"Expected a file that does not exist yet, but {text} does.")
    return path


def _require_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"Expected {error.name} for ONNX; pip install 'nnmass[onnx]' brings it.") from error


def _write_onnx(network: "nn.Module", batches: "list[Tensor]", file: Path) -> float:
    import onnxruntime
    import torch

    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(network, (batches[0],), dynamo=True, dynamic_shapes=dynamic, verbose=False)
    assert program is not None
    program.save(str(file), external_data=False)
    session = onnxruntime.InferenceSession(str(file))
    name = session.get_inputs()[0].name
    return _largest_difference(
        network, batches, lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])
    )


def _write_program(network: "nn.Module", batches: "list[Tensor]", file: Path) -> float:
    import torch

    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = io.BytesIO()  # torch's own file writer has an error of its own for each that a disk may give
    torch.export.save(torch.export.export(network, (batches[0],), dynamic_shapes=dynamic), program)
    file.write_bytes(program.getvalue())
    return _largest_difference(network, batches, torch.export.load(file).module())


def _largest_difference(network: "nn.Module", batches: "list[Tensor]", exported: Callable[..., "Tensor"]) -> float:
    """Return the largest difference over all batches, as a share of the largest logit."""
    import torch

    with torch.inference_mode():
        pairs = [(network(batch), exported(batch)) for batch in batches]
    return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)
