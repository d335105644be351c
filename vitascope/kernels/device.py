"""Choice of device and precision, and contexts for computing in them.

Only `kernels` may test the type of a device or name a backend; all other packages take a `torch.device`.
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitascope.errors import DeviceError, reason
from vitascope.types import Dtype, DtypeChoice, Precision

CPU = torch.device("cpu")
META = torch.device("meta")  # tensors with a shape and no numbers

ValueT = TypeVar("ValueT")


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:N or mps. `auto` prefers CUDA, then mps, then the CPU.

    Raises:
        DeviceError: another name, or a device that this machine lacks.
    """
    if name == META:
        return META
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else CPU
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name, re.ASCII):
        raise DeviceError(f"device {name!r}: give auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps': this machine has none, or this PyTorch can't use it; give cpu or auto")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(f"device {name!r}: PyTorch finds no CUDA device here; give cpu or auto")
        if device.index is not None and device.index >= count:
            raise DeviceError(f"device {name!r}: there are {count} CUDA devices, numbered from 0")
    return device


def resolve_precision(name: DtypeChoice, device: torch.device) -> Precision:
    """The number format of a name; `auto` is bfloat16 on a GPU, and the faster one on a CPU.

    Raises:
        DeviceError: int8 on anything but a CPU.
    """
    if name == "auto":
        return "bfloat16" if device.type != "cpu" or has_bfloat16_matrices() else "float32"
    if name == "int8" and device.type != "cpu":
        raise DeviceError(f"int8 runs on a CPU only, not on {device}; give --dtype bfloat16 or --device cpu")
    return name


def has_bfloat16_matrices() -> bool:
    """True if this processor has AMX, whose bfloat16 matrix products are several times as fast as float32."""
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return bool(torch.cpu._is_amx_tile_supported())  # torch before 2.13


def has_bfloat16_products() -> bool:
    """True if this processor has vector instructions for bfloat16 (AVX512-BF16); others emulate it, slowly."""
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return bool(torch.cpu._is_avx512_bf16_supported())  # torch before 2.13


def compile_problem(device: torch.device) -> str | None:
    """Reason why torch.compile can't build a kernel for a device, such as a missing C++ compiler; None if it can."""
    try:
        torch.compile(torch.neg, dynamic=False)(torch.ones(16, device=device))
    except (RuntimeError, OSError) as error:
        return reason(error)[:200]
    return None


def keep_graphs(folder: Path) -> None:
    """Let torch.compile cache its kernels in a folder, unless the environment names another one.

    Source: https://docs.pytorch.org/tutorials/recipes/torch_compile_caching_tutorial.html
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.resolve()))


def is_cpu(device: torch.device) -> bool:
    """True if kernels written for CPUs apply."""
    return device.type == "cpu"


def device_of(network: nn.Module) -> torch.device:
    """The device that a network's weights are on."""
    return next(network.parameters()).device


def free_memory(device: torch.device) -> int | None:
    """Bytes that a device can still allocate; None if unknown. On Linux a container's limit counts."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    found = [_available(Path("/proc/meminfo")), _left_in_group(Path("/sys/fs/cgroup"))]
    return min((each for each in found if each is not None), default=None)


def _available(path: Path) -> int | None:
    """Available memory of a Linux system. Source: proc(5), MemAvailable in KiB."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) << 10


def _left_in_group(folder: Path) -> int | None:
    """Memory left to a control group, whose file cache can be freed. Source: Linux, cgroup-v2.rst."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cache = re.search(r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
        return int(limit) - int(used) + int(cache[1] if cache else 0)
    except (OSError, ValueError):  # no such group, or a limit of "max"
        return None


def autocast(device: torch.device, precision: Dtype) -> AbstractContextManager[object]:
    """A context that computes matrix products and convolutions in a precision; weights keep theirs."""
    if precision == "float32" or device == META:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context that computes everything in the precision of its arguments."""
    return nullcontext() if device == META else torch.autocast(device.type, enabled=False)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The number format that autocast computes in on a device; None where it is off, as always on the meta device."""
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


def to_device(value: ValueT, device: torch.device) -> ValueT:
    """Same value with its tensors on the device: a tensor, a dict, an object with a method `to`, or a dataclass.

    Copies of tensors to CUDA go through pinned memory and don't wait for the device.
    """
    moved: Any = value
    if isinstance(value, Tensor):
        if device.type == "cuda" and value.device.type == "cpu":
            moved = value.pin_memory().to(device, non_blocking=True)
        else:
            moved = value.to(device)
    elif isinstance(value, dict):
        moved = {key: to_device(each, device) for key, each in value.items()}
    elif hasattr(value, "to"):
        moved = moved.to(device)
    elif is_dataclass(value) and not isinstance(value, type):
        moved = replace(value, **{each.name: to_device(getattr(value, each.name), device) for each in fields(value)})
    return moved


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work, for example before measuring time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
