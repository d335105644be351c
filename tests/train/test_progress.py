"""Every trainer prints its first line before it reads anything, and a line at the start of each long phase."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import ModuleType

import pytest

from vitascope.judge import train as judge_training
from vitascope.progress import progress, with_progress
from vitascope.train import codec as codec_training
from vitascope.train import transformer as transformer_training

STATISTICS = "measuring latent statistics"
SAMPLES = ["generating samples", "computing the validation loss"]
VALIDATION = ["reading validation clips", "validating"]


def phases(lines: Sequence[str]) -> list[str]:
    """Labels of lines, without their figures; repeated ones once."""
    labels = (re.sub(r"^step .*", "step", line).split(":")[0].removesuffix(" in float32") for line in lines)
    return [label for label, _ in groupby(labels)]


def shown_after_start(error: str, phase: str) -> list[str]:
    """Labels of all phases except steps, from `phase` on."""
    found = phases(error.splitlines())
    return [label for label in found[found.index(phase) :] if label != "step"]


def test_a_codec_shows_every_phase(codec_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec_training.train(codec_config, tmp_path / "run", ["steps=2", "sample_every=2", "codec.linear_path=true"])
    error = capsys.readouterr().err
    assert error.startswith("reading the records of ")
    assert shown_after_start(error, "codec") == [
        "codec", "reading clips for the linear path", "fitting the linear path", *VALIDATION, STATISTICS,
    ]  # fmt: skip


def test_a_transformer_shows_every_phase_from_a_cold_cache(
    transformer_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["steps=2", "sample_every=2", "captions_per_language=2"]
    transformer_training.train(transformer_config, tmp_path / "run", overrides)
    error = capsys.readouterr().err
    assert error.startswith("reading the records of ")
    assert [label for label in shown_after_start(error, "transformer") if not label.startswith("useful")] == [
        "transformer",
        *("encoding latents for train", "encoding texts for train"),
        *("encoding latents for validation", "encoding texts for validation"),
        *("planning packs", *SAMPLES, "writing the model"),
    ]


@pytest.mark.parametrize("module", [codec_training, transformer_training, judge_training])
def test_the_first_line_comes_before_anything_is_read(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when records, networks or caches are read in silence."""

    def read(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitascope.train.run.list_clips", read)
    config = tmp_path / "config.toml"
    sections = "[transformer]\nin_channels = 4\nout_channels = 4\nnum_layers = 1\nnum_heads = 2\nhead_dim = 16\n"
    sections += 'ffn_width = 64\ntext_width = 384\n[pipeline]\nname = "tiny"\n'
    text = f'data = "{tmp_path}"\n'
    if module is transformer_training:
        text += f'vae = "{tmp_path}"\ntext_encoder = "{tmp_path}"\n{sections}'
    config.write_text(text, encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        module.train(config, tmp_path / "run")
    assert capsys.readouterr().err.startswith(f"reading the records of {tmp_path}\n")


def test_a_phase_is_shown_at_once_or_after_five_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("vitascope.progress.time.monotonic", lambda: clock[0])
    assert list(with_progress("long", "abc", at_once=True)) == ["a", "b", "c"]
    assert list(with_progress("short", "abc")) == ["a", "b", "c"]
    with progress("slow", at_once=True) as show:
        for done in range(4):
            show(done, 4)
            clock[0] += 3.0
    assert capsys.readouterr().err.splitlines() == ["long: 0/3", "slow: 0/4", "slow: 2/4, 6 s left"]
