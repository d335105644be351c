"""The guard against mixed devices itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.devices import MixedDevicesError, OneDevice
from vitascope.kernels.device import META


def scaled(x: torch.Tensor, *, sabotage: bool) -> torch.Tensor:
    """x plus zeros; sabotaged, the zeros are made without a device."""
    return x + (torch.zeros(x.shape[-1]) if sabotage else torch.zeros(x.shape[-1], device=x.device))


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("inference", [False, True])
def test_one_tensor_without_a_device_fails(others: bool, inference: bool) -> None:
    x = torch.zeros(2, 3, device=META)
    with torch.inference_mode(inference):
        with OneDevice(META, others=others) as guard:
            assert scaled(x, sabotage=False).shape == (2, 3)
        assert guard.num_checked > 0
        with pytest.raises(MixedDevicesError, match="on cpu"), OneDevice(META, others=others):
            scaled(x, sabotage=True)


@pytest.mark.parametrize("mixture", [lambda x: x * torch.tensor(2.0), lambda x: x[torch.tensor([0])]])
def test_what_torch_tolerates_fails_too(mixture) -> None:
    """A scalar and an index on the CPU: PyTorch takes both for tensors on a GPU, and waits for it."""
    with pytest.raises(MixedDevicesError), OneDevice(META, others=True):
        mixture(torch.zeros(2, 3, device=META))


@pytest.mark.parametrize("inference", [False, True])
def test_copies_may_cross_devices(inference: bool) -> None:
    with torch.inference_mode(inference), OneDevice(META, others=True):
        noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
        assert noise.to(META).is_meta
        torch.zeros(2, 3, device=META).copy_(noise)
    with pytest.raises(MixedDevicesError), OneDevice(META):
        torch.randn(2, 3)


def test_layers_pass_in_inference_mode() -> None:
    layer = nn.Linear(3, 4, device=META)
    with torch.inference_mode(), OneDevice(META) as guard:
        assert layer(torch.zeros(2, 3, device=META)).shape == (2, 4)
    assert guard.num_checked > 0
