"""Facts about files without reading all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.video.pictures import smooth
from vitascope.errors import PastEndError
from vitascope.video import Video, probe, read_video


def test_a_probe_tells_kinds_apart(tmp_path: Path) -> None:
    kinds = {
        probe(Video(smooth(count), 10.0).save(tmp_path / f"{count}{suffix}"))[:2]
        for count, suffix in [(1, ".png"), (1, ".jpg"), (1, ".webp"), (1, ".gif")]
    }
    assert kinds == {("image", 0.0)}
    animation = probe(Video(smooth(4), 10.0).save(tmp_path / "4.gif"))
    assert animation == ("animation", pytest.approx(0.4), 64, 96, 10.0, False, ())
    assert probe(Video(smooth(4), 10.0).save(tmp_path / "4.mp4"))[0] == "video"
    with pytest.raises(PastEndError):
        read_video(tmp_path / "4.gif", start=0.5)
