"""Only vitascope/kernels names devices and backends; every other room takes a `torch.device`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "vitascope"
NAMES = re.compile(
    r"""["'](cpu|cuda|mps)(:\d+)?["']"""  # a device by name
    r"""|mkldnn|onednn"""  # a backend
    r"""|\.(cpu|cuda)\(\)|\.is_(cuda|mps|cpu)\b"""  # a move to a device or a question about it, by name
    r"""|device\.type\s*(==|!=|in\b|not in\b)"""
)
ROOMS = sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")} - {"kernels"})


def names_in(text: str) -> list[str]:
    """Lines of a source file that name a device or a backend."""
    return [line.strip() for line in text.splitlines() if NAMES.search(line)]


@pytest.mark.parametrize("room", ROOMS)
def test_only_kernels_name_devices_and_backends(room: str) -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] == room]
    found = {str(path.relative_to(PACKAGE)): names_in(path.read_text(encoding="utf-8")) for path in files}
    assert files
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "line",
    [
        'x = torch.zeros(3, device="cpu")',
        "network.to('cuda:1')",
        "y = torch.mkldnn_convolution(x)",
        "torch.ops.onednn.qlinear_prepack(w)",
        'if x.device.type == "meta":',
        "frames = pixels.cpu()",
        "if x.is_cuda:",
    ],
)
def test_the_contract_notices(line: str) -> None:
    """The twin of the test above."""
    assert names_in(f"import torch\n{line}\n") == [line]


def test_the_contract_allows_devices() -> None:
    assert not names_in("x = torch.zeros(3, device=device)\nwith torch.device(META):\n    pass\ny = x.to(x.device)\n")
