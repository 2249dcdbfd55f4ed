"""The Triton kernels: interpreted on the processor, and compiled for GPUs that need not be there."""

import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nnmass.zoo import RandomSkipDenseNet
from nnmass.zoo.fast import gpu, outputs
from nnmass.zoo.fast.channels import Gradients, Outputs, Reading
from nnmass.zoo.networks import cells

pytestmark = pytest.mark.skipif(not gpu.available(torch.float32), reason="needs Triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
PRECISIONS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TYPES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
COLUMNS = gpu._COLUMNS
TYPES |= {torch.int64: "i64", torch.int32: "i32", torch.uint8: "u8"}


def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Kernels and their arguments, which are written down and not run."""
    launches: list[tuple] = []
    monkeypatch.setattr(gpu, "_launch", lambda kernel, grid, *arguments: launches.append((kernel, arguments)))
    monkeypatch.setattr(outputs, "loops_for", lambda device: gpu)
    monkeypatch.setattr(cells, "is_proved", lambda *_: True)
    return launches


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="starts what is interpreted")
def test_interpreted_sweeps_give_the_numbers_of_the_modules() -> None:
    tests = Path(__file__).with_name("test_shared_outputs_numbers.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(("expansion", "kept"), [(None, 24), (6, 76)])
def test_a_training_step_launches_four_kernels_per_layer_and_an_evaluation_two(
    expansion: int | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of three cells 8 outputs are kept and read by 7 layers; in all layers but one, expanded, two more by one.

    These are kept where they are, so that an evaluation, which measures nothing, has not to store them.
    """
    launches = launched(monkeypatch)
    network = RandomSkipDenseNet(9, 1, [30, 50, 100], expansion=expansion, share_outputs=True)
    x = torch.randn(2, 3, 8, 8)
    network(x).sum().backward()
    counts = {"store": kept, "normalise_and_gather": kept - 3, "scatter": kept - 3, "batch_norm_backward": kept}
    # On the way back, what the last layer of each cell has read, and that of each block before a normalisation.
    counts["gather"] = 3 if expansion is None else 8
    assert Counter(kernel for kernel, _ in launches) == counts
    launches.clear()
    with torch.no_grad():
        network.eval()(x)
    assert Counter(kernel for kernel, _ in launches) == {"store": 24, "normalise_and_gather": kept - 3}


def launches_of(
    monkeypatch: pytest.MonkeyPatch, precision: torch.dtype, weights: torch.dtype, width: int
) -> list[tuple]:
    """The kernels and the arguments with which they are launched, the last one to gather in the same go."""
    launches = launched(monkeypatch)
    links = torch.arange(3)
    norm = nn.BatchNorm2d(width + len(links)).to(weights)
    exact = torch.float64 if precision == torch.float64 else torch.float32
    kept = Outputs(
        torch.empty(2, 64, width, dtype=precision),
        *torch.empty(2, 2 * width, dtype=exact),
        torch.empty(2 * width, dtype=torch.int32),
    )
    image = torch.empty(64, norm.num_features, dtype=precision)
    gpu.store(image, kept, 1, True)
    channels = gpu.normalise_and_gather(norm, 1, links, kept, image)
    reading = Reading(kept, channels, image)
    gpu.gather(reading)
    sums, touched = torch.empty(2, 2 * width, dtype=torch.float64), torch.empty(2 * width, dtype=torch.uint8)
    gradients = Gradients(kept.values, sums, touched)
    gpu.scatter(image, kept, channels, gradients)
    gpu.batch_norm_backward(gradients, kept, 0, image, None)
    gpu.batch_norm_backward(gradients, kept, 0, image, reading)
    return launches


def compiled(kernel: str, arguments: tuple, capability: int) -> Any:
    """A kernel as Triton compiles it for these arguments: those that are 1, or multiples of 16, are known to be."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nnmass.zoo.fast import triton_kernels

    function = getattr(triton_kernels, kernel)
    described, constants, attributes = {}, {}, {}
    for place, ((name, parameter), value) in enumerate(
        zip(inspect.signature(function.fn).parameters.items(), arguments, strict=True)
    ):
        is_free = name in function.do_not_specialize
        described[name] = "i32"
        if isinstance(value, torch.Tensor):
            described[name] = f"*{TYPES[value.dtype]}"
        elif parameter.annotation is not inspect.Parameter.empty or (value == 1 and not is_free):
            described[name], constants[(place,)] = "constexpr", value
        if isinstance(value, torch.Tensor) or (described[name] == "i32" and value % 16 == 0 and not is_free):
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, described, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


def resources(binary: bytes, folder: Path) -> dict[str, int]:
    """Registers, bytes of the stack, which is where registers are spilled to, and others, by cuobjdump's names."""
    import triton

    file = folder / "kernel.cubin"
    file.write_bytes(binary)
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", told)}


def offsets(code: str) -> set[str]:
    """Of what type the places of blocks are, counted in numbers from the first one."""
    found = re.findall(r"tt\.addptr .*: tensor<[\dx]+x!tt\.ptr<\w+>, .*?>, tensor<([\dx]+)x(i\d+)", code)
    return {number for shape, number in found if _count(shape) > COLUMNS}


def accesses(code: str) -> list[tuple[str, list[int], list[int], int]]:
    """List the loads and stores of blocks: the operation, how many neighbours a thread takes along each dimension, the
    order of dimensions, the fastest first, and the bits of a number."""
    layouts = {
        name: ([int(n) for n in size.split(",")], [int(n) for n in order.split(",")])
        for name, size, order in re.findall(
            r"(#blocked\d*) = #ttg\.blocked<\{sizePerThread = \[([\d, ]+)\].*?order = \[([\d, ]+)\]", code
        )
    }
    found = []
    for operation, shape, bits, layout in re.findall(
        r"tt\.(load|store) .*: tensor<([\dx]+)x!tt\.ptr<[a-z]+(\d+)>, (.*?)> loc", code
    ):
        if _count(shape) > COLUMNS:
            found.append((operation, *layouts[layout], int(bits)))
    return found


def _count(shape: str) -> int:
    return torch.Size(int(length) for length in shape.split("x")).numel()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel is not compiled")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("width", [1, 5, 32])
def test_kernels_compile_without_spills_and_threads_lie_along_columns(
    precision: torch.dtype, capability: int, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import triton

    single = torch.float64 if precision == torch.float64 else torch.float32
    for weights in {single, precision}:
        *alone, last = launches_of(monkeypatch, precision, weights, width)
        for kernel, arguments in (*alone, last):
            binary = compiled(kernel, arguments, capability)
            used = resources(binary.asm["cubin"], tmp_path)
            print(f"Triton {triton.__version__}, sm_{capability}, {precision}, width {width}, {kernel}: {used}")
            if width == 1:  # of which no network is; its rows are neighbours themselves
                continue
            assert used["STACK"] == used["LOCAL"] == 0
            assert used["REG"] <= 128 or precision == torch.float64
            assert offsets(binary.asm["ttgir"]) == {"i64"}
            blocks = accesses(binary.asm["ttgir"])
            assert blocks
            assert all(order == sorted(order, reverse=True) for _, _, order, _ in blocks)
            if width == 32 and kernel in ("store", "batch_norm_backward") and arguments is not last[1]:
                # Sixteen bytes at once, which the layout allows and a mask by columns would forbid.
                assert all(neighbours[1] * bits >= 128 for _, neighbours, order, bits in blocks if len(order) == 2)
                assert precision.itemsize > 2 or not re.search(r"(ld|st)\.global\.b16", binary.asm["ptx"])
