"""A guard for tests: no operation may mix devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vitascope.kernels.device import CPU, META

COPIES = {torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten.copy}
COPIES |= {torch.ops.aten._has_compatible_shallow_copy_type}  # asked of both tensors when a module moves


class MixedDevicesError(AssertionError):
    """An operation has a tensor on the wrong device among its arguments or results."""


class OneDevice(TorchDispatchMode):
    """A context in which every tensor of every operation must be on `device`; explicit copies may cross devices.

    With `others=True`, an operation may run wholly on another device, as planning and noise do on the CPU: then only a
    mixture raises. That includes the CPU scalars and CPU indices that PyTorch tolerates: each costs a synchronisation.

    The mode belongs to a thread: work in other threads isn't checked.

    Raises:
        MixedDevicesError: on the operation, at the place that calls it.
    """

    def __init__(self, device: torch.device, *, others: bool = False):
        super().__init__()
        self.device, self.others = device, others
        self.num_checked = 0  # operations on `device`, so that a test can show that it saw any

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in COPIES:
            return func(*args, **kwargs)
        self._check(func, (args, kwargs))
        with self:  # in inference mode, composite operations arrive whole: look at their parts
            result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            result = func(*args, **kwargs)
        self._check(func, (args, kwargs, result))
        return result

    def _check(self, func: Any, tree: object) -> None:
        devices = {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}
        allowed = len(devices) <= 1 if self.others else devices <= {self.device.type}
        if not allowed:
            raise MixedDevicesError(f"{func} has tensors on {', '.join(sorted(devices))}; want {self.device} alone")
        self.num_checked += self.device.type in devices


class FakeDevice(OneDevice):
    """The meta device in the place of a second device: as `OneDevice`, but copies to the CPU give zeros.

    So a whole chain runs whose results are copied back, as long as nothing in between asks for a value. What would
    synchronise with a GPU (`item`, `tolist`, `nonzero`, a branch on a tensor) fails here.
    """

    def __init__(self) -> None:
        super().__init__(META, others=True)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        copies = func.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy)
        if copies and args[0].is_meta and CPU in (*args[1:], kwargs.get("device")):
            dtype = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.dtype)), args[0].dtype)
            return torch.zeros(args[0].shape, dtype=dtype, device=CPU)
        return super().__torch_dispatch__(func, types, args, kwargs)
