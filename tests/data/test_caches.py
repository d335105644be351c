"""Shards of encoded clips that can't be read are encoded again."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from vitascope.data.caches import _read_shard


def test_a_shard_larger_than_memory_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails with a RuntimeError of mapping: it is no OSError and no SafetensorError."""
    path, size = tmp_path / "latents_00000.safetensors", 1 << 43
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, path.stat().st_size + size)
    assert _read_shard(path) == ({}, {})
    assert "encoding it again" in capsys.readouterr().err
