"""The processor or GPU of a training, with the versions that its results depend on."""

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import which

import torch

__all__ = ["DEVICE_FACTS", "device_facts", "slow_on_processor"]

DEVICE_FACTS = ("device", "driver", "cuda", "cudnn")
"""Names of the facts about a device, in run.json and in the tables of studies."""

_PATIENCE_S = 10
_HALF_PRECISIONS = {
    "bf16": ("bfloat16", ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "sve_bf16")),
    "16": ("float16", ("avx512_fp16", "amx_fp16", "avx_ne_convert", "fp16_arith")),
}  # their instructions, in the words of torch.cpu.get_capabilities


def device_facts(device: torch.device) -> dict[str, str | None]:
    """The name of a device and, of a GPU, the versions of driver, CUDA and cuDNN; None where they do not apply."""
    if device.type != "cuda":
        return {"device": f"{device.type} {_processor()}", "driver": None, "cuda": None, "cudnn": None}
    cudnn = torch.backends.cudnn.version()
    return {
        "device": torch.cuda.get_device_name(device),
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
    }


def slow_on_processor(precision: str) -> str:
    """Say that this processor has no instructions for a precision and must emulate it, which is slow.

    Args:
        precision: As ``trainer.precision`` takes it.

    Returns:
        One sentence; empty where there are instructions, and where PyTorch cannot tell.
    """
    kind, instructions = _HALF_PRECISIONS.get(precision.partition("-")[0], ("", ()))
    if not kind or not hasattr(torch.cpu, "get_capabilities"):  # without it, nothing tells
        return ""
    capabilities = torch.cpu.get_capabilities()
    known = capabilities.get("architecture") in ("x86_64", "aarch64", "arm64")
    if not known or any(capabilities.get(name) for name in instructions):
        return ""
    return (
        f"This processor has no instructions for {kind}: trainer.precision {precision} may take several times as long "
        "here as 32-true."
    )


@cache
def _driver() -> str | None:
    """Version of NVIDIA's driver, as its own program tells it, which may take a second."""
    program = which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:  # the driver hangs; the training may still run
        return None
    return done.stdout.partition("\n")[0].strip() or None if done.returncode == 0 else None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
