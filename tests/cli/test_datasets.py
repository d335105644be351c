"""`vitascope render` and `prepare`: what they pass on and what they refuse."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from vitascope import cli


def test_render_passes_its_settings_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.config import Config

    class RenderConfig(Config):
        num_clips: int = 1
        seed: int = 0
        sizes: tuple[str, ...] = ("64x64",)
        num_frames: tuple[int, ...] = (17,)
        fps: tuple[float, ...] = (8.0,)
        image_share: float = 0.0
        split: str = "train"

    calls: list[tuple[object, ...]] = []

    def render_dataset(config: object, out: Path, num_workers: int, on_progress: Any) -> None:
        on_progress(1, 1)
        calls.append((config, out, num_workers))

    module = types.ModuleType("dataset")
    vars(module).update(RenderConfig=RenderConfig, render_dataset=render_dataset)
    monkeypatch.setitem(sys.modules, "vitascope.data.render", module)
    (tmp_path / "world.toml").write_text('num_clips = 9\nsizes = ["32x32"]\nseed = 3\n')
    words = "--size 64x48 --size 96x96 --frames 9 --frames 17 --fps 12 --image-share 0.5 --split held_out --workers 2"
    out = tmp_path / "clips"
    assert cli.main(["render", "--config", str(tmp_path / "world.toml"), "--out", str(out), *words.split()]) == 0
    expected = RenderConfig(
        num_clips=9,
        seed=3,
        sizes=("64x48", "96x96"),
        num_frames=(9, 17),
        fps=(12.0,),
        image_share=0.5,
        split="held_out",
    )
    assert calls == [(expected, out, 2)]
    assert cli.main(["render", "--clips", "4", "--out", str(out), "--seed", "0"]) == 0
    assert calls[1][0] == RenderConfig(num_clips=4)
    capsys.readouterr()
    assert cli.main(["render", "--out", str(out)]) == 2
    assert "--clips" in capsys.readouterr().err
    assert cli.main(["render", "--out", str(out), "--clips", "2", "--size", "9"]) == 2
    assert len(calls) == 2


@pytest.mark.parametrize(
    "words",
    [["render", "--clips", "2"], ["train", "codec", "a.toml"], ["train", "transformer", "a.toml"]],
    ids=" ".join,
)
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], out: str
) -> None:
    (tmp_path / "file").touch()
    assert cli.main([*words, "--out", str(tmp_path / out)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "is a file, not a folder" in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
