"""Trained networks as files that run without this code: ONNX and torch.export, with their preprocessing inside."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nnmass.zoo.weights.load import TrainedNetwork

__all__ = ["Exportable", "Input", "exportable", "largest_difference", "write_onnx", "write_program"]

Input = Literal["uint8", "float", "normalised"]
"""Numbers that an exported network takes: bytes, floats in [0, 1], or what data modules hand out."""

_BATCHES = (2, 1, 5)  # sizes at which what was written is held against the network


class Exportable(NamedTuple):
    """A network as it is to be exported.

    Attributes:
        module: From ``input_name`` to ``output_name``.
        input_name: ``images``, or ``features`` where samples are vectors.
        output_name: ``probabilities`` or ``logits``.
        batches: Random inputs of several sizes.
        facts: All that is needed to prepare an image and to name a class, plain values.
    """

    module: nn.Module
    input_name: str
    output_name: str
    batches: list[Tensor]
    facts: dict[str, Any]


class Prepared(nn.Module):
    """A network behind its preprocessing, with probabilities after it.

    Args:
        network: In evaluation mode.
        mean: Of each channel, on the scale 0 to 1.
        std: Of each channel, on the scale 0 to 1.
        scale: Number that stands for white.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes) of images (N, C, H, W)."""
        shares = images.to(torch.float32) / self.scale
        probabilities: Tensor = self.network((shares - self.mean) / self.std).softmax(dim=-1)
        return probabilities


class Probabilities(nn.Module):
    """A network of vectors with probabilities after it.

    Args:
        network: In evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Probabilities (N, classes) of vectors (N, features)."""
        probabilities: Tensor = self.network(features).softmax(dim=-1)
        return probabilities


def exportable(trained: TrainedNetwork, takes: Input = "uint8") -> Exportable:
    """Put a trained network into the form in which it is exported.

    Args:
        trained: The network; vectors are always taken as data modules hand them out.
        takes: ``normalised`` leaves the preprocessing and the probabilities out.
    """
    transform, shape = trained.transform, trained.input_size
    assert shape is not None
    generator = torch.Generator().manual_seed(0)
    if transform is None or takes == "normalised":
        batches = [torch.randn(size, *shape, generator=generator) for size in _BATCHES]
    elif takes == "uint8":
        batches = [torch.randint(256, (size, *shape), generator=generator, dtype=torch.uint8) for size in _BATCHES]
    else:
        batches = [torch.rand(size, *shape, generator=generator) for size in _BATCHES]
    module, output = trained.network, "logits"
    if takes != "normalised":
        output = "probabilities"
        module = Probabilities(trained.network)
        if transform is not None:
            white = 255.0 if takes == "uint8" else 1.0
            module = Prepared(trained.network, transform.mean, transform.std, white)
    name = "images" if transform is not None else "features"
    facts = {
        "classes": list(trained.classes or ()),
        "input": takes if transform is not None else "normalised",
        "output": output,
        "data": trained.data,
        **(transform.as_dict() if transform is not None else {}),
    }
    return Exportable(module.eval(), name, output, batches, facts)


def write_onnx(part: Exportable, file: Path) -> Callable[[Tensor], Tensor]:
    """Write an ONNX file, whose metadata holds the facts as JSON, and return what it computes.

    Args:
        part: The network.
        file: To write.
    """
    import onnxruntime

    program = torch.onnx.export(
        part.module,
        (part.batches[0],),
        input_names=[part.input_name],
        output_names=[part.output_name],
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update({key: json.dumps(value) for key, value in part.facts.items()})
    program.save(str(file), external_data=False)
    session = onnxruntime.InferenceSession(str(file))
    return lambda batch: torch.from_numpy(session.run(None, {part.input_name: batch.numpy()})[0])


def write_program(part: Exportable, file: Path) -> Callable[[Tensor], Tensor]:
    """Write a program of torch.export with the facts in ``nnmass.json`` beside it, and return what it computes.

    Args:
        part: The network.
        file: To write.
    """
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    content = io.BytesIO()  # torch's own file writer has an error of its own for each that a disk may give
    program = torch.export.export(part.module, (part.batches[0],), dynamic_shapes=dynamic)
    torch.export.save(program, content, extra_files={"nnmass.json": json.dumps(part.facts)})
    file.write_bytes(content.getvalue())
    return torch.export.load(file).module()


def largest_difference(part: Exportable, exported: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between a network and what was written, as a share of the largest output.

    Args:
        part: The network.
        exported: What was written.
    """
    with torch.inference_mode():
        pairs = [(part.module(batch), exported(batch)) for batch in part.batches]
    return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)
