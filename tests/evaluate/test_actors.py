"""`evaluate codec` on actors: each figure answers to the damage that it is meant for, and to no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import repeat
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache
from vitascope.codec.video_codec import Stride, VideoCodec
from vitascope.errors import SizeError
from vitascope.evaluate import actors
from vitascope.evaluate.measures import owners
from vitascope.evaluate.measures.components import cross_fitted_copies
from vitascope.video import Video
from vitascope.worlds.frame import Maps, RenderedClip

STRIDE, CELL = Stride(4, 8, 8), Stride(2, 4, 4)
NOISE = np.random.default_rng(0)


class Sampler(VideoCodec):
    """A codec that keeps one pixel of each cell; its cells are small, so that fits are fast."""

    latent_channels = 3
    stride = CELL  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def encode(self, pixels: Tensor, cache: CausalCache | None = None) -> Tensor:
        return pixels[:, :, 0 if self._is_first(cache) else 1 :: 2, ::4, ::4]

    def decode(self, latent: Tensor, cache: CausalCache | None = None) -> Tensor:
        pixels = repeat(latent, "b c t h w -> b c (t time) (h row) (w column)", time=2, row=4, column=4)
        return pixels[:, :, 1:] if self._is_first(cache) else pixels

    def _is_first(self, cache: CausalCache | None) -> bool:
        is_first = not cache
        if cache is not None:
            cache[self] = torch.zeros(())
        return is_first


def clip(speed: float = 1.0, shade: int = 0) -> RenderedClip:
    """A bright square that moves right over a still gradient; nine frames of 32 x 32."""
    ground = np.add.outer(3 * np.arange(32), 2 * np.arange(32))[..., None].repeat(3, axis=-1) + 20
    frames, masks, truth = np.tile((ground + shade).astype(np.uint8), (9, 1, 1, 1)), np.zeros((9, 32, 32), np.uint8), []
    for now in range(9):
        left = round(2 + speed * now)
        frames[now, 6:14, left : left + 8], masks[now, 6:14, left : left + 8] = (240, 40, 90), 1
        truth.append({"shot": 0, "actors": [{"pixel": [10.0, 6.0 + speed * now]}]})
    return RenderedClip(Video(frames, 8.0), {"fps": 8.0, "frames": truth}, Maps(masks=masks))


def errors_of(damaged: np.ndarray, original: RenderedClip) -> np.ndarray:
    assert original.maps.masks is not None
    speeds = owners.actor_speeds(original.truth["frames"])
    return owners.squared_errors(original.video.frames, damaged, original.maps.masks, speeds)


def test_speed_is_that_since_the_previous_frame_of_the_shot() -> None:
    centres, shots = [(0, 0), (3, 4), (3, 4), (90, 90), (90, 92)], [0, 0, 0, 1, 1]
    truth = [{"shot": shot, "actors": [{"pixel": list(c)}]} for shot, c in zip(shots, centres, strict=True)]
    assert owners.actor_speeds(truth)[:, 0].tolist() == [5.0, 5.0, 0.0, 2.0, 2.0]


@pytest.mark.parametrize(("speed", "group"), [(0.0, 2), (0.5, 3), (1.0, 4), (2.0, 5)])
def test_damage_to_the_actor_shows_in_its_own_bin(speed: float, group: int) -> None:
    """Damage to the background does not. Checked to fail: with the mask of the frame before."""
    original = clip(speed)
    assert original.maps.masks is not None
    hurt = np.where(original.maps.masks[..., None] == 1, original.video.frames - 10, original.video.frames)
    sums = errors_of(hurt, original)
    assert owners.psnr_of(sums[1]) == pytest.approx(20 * np.log10(25.5))
    assert sums[group].tolist() == sums[1].tolist() == [100 * 8 * 64, 8 * 64]
    assert sums[[g for g in range(2, 7) if g != group]].sum() == 0
    assert sums[0].tolist() == [100 * 8 * 64, 8 * 32 * 32]
    hurt = np.where(original.maps.masks[..., None] == 0, original.video.frames + 10, original.video.frames)
    assert errors_of(hurt, original)[1:, 0].sum() == 0


def test_the_first_frame_does_not_count() -> None:
    original = clip()
    hurt = original.video.frames.copy()
    hurt[0] = 0
    assert errors_of(hurt, original)[:, 0].sum() == 0
    assert owners.edge_errors(original.video.frames, hurt, STRIDE).sum() == pytest.approx(
        owners.edge_errors(original.video.frames, original.video.frames, STRIDE).sum()
    )


def test_errors_that_step_between_cells_have_block_edges() -> None:
    """And noise has none. Checked to fail: with borders one pixel off."""
    original = np.full((9, 64, 64, 3), 128, np.uint8)
    steps = NOISE.integers(-20, 20, (9, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    noise = NOISE.integers(-20, 20, original.shape)
    mixed = (original + steps + noise // 8).astype(np.uint8)
    assert owners.ratio_of(owners.edge_errors(original, mixed, STRIDE)) > 3
    assert owners.ratio_of(owners.edge_errors(original, (original + noise).astype(np.uint8), STRIDE)) == pytest.approx(
        1, abs=0.05
    )


def test_flicker_is_the_change_of_the_error_where_the_original_is_still() -> None:
    """At the borders of latent frames alone: 3 of 15 steps. Checked to fail: one frame off."""
    original = np.full((17, 16, 16, 3), 128, np.uint8)
    levels = np.concatenate([[0], np.repeat([4, 0, 4, 0], 4)]).astype(np.uint8)
    copy = original + levels[:, None, None, None]
    changes = owners.still_changes(original, copy, 4)
    assert owners.mean_of(changes) == pytest.approx(4 * 3 / 15)
    assert owners.ratio_of(changes[[2, 3, 0, 1]]) == pytest.approx(5)
    moving = (original + NOISE.integers(0, 90, original.shape)).astype(np.uint8)
    assert owners.still_changes(moving, moving + levels[:, None, None, None], 4)[1] < 5
    assert np.isnan(owners.summary(owners.still_changes(original, copy, 1)[None][:, [2, 3, 0, 1]], owners.ratio_of)[0])


def test_components_are_exact_where_clips_span_few_dimensions_and_fitted_on_other_clips() -> None:
    """Checked to fail: with components fitted on all clips."""
    bases = NOISE.uniform(-40, 40, (3, 2, 4, 4, 3))
    weights = NOISE.uniform(-1, 1, (8, 4, 4, 4, 3))
    blocks = np.einsum("n t h w k, k p q r c -> n t p h q w r c", weights, bases).reshape(8, 8, 16, 16, 3) + 128
    clips = list(np.concatenate([blocks[:, :1], blocks], axis=1).round().astype(np.uint8))
    errors = [
        int(np.abs(a.astype(int) - b).max()) for a, b in zip(clips, cross_fitted_copies(clips, CELL, 3), strict=True)
    ]
    assert max(errors) <= 2
    other = np.tile(NOISE.integers(0, 255, (2, 4, 4, 3)), (4, 4, 4, 1))  # one more dimension, in this clip alone
    clips[5] = np.concatenate([clips[5][:1], other.astype(np.uint8)])
    copies = cross_fitted_copies(clips, CELL, 4)
    assert np.abs(copies[5][1:].astype(int) - clips[5][1:]).mean() > 40
    assert (copies[5][0] == clips[5][0]).all()


def test_a_report_has_both_systems_by_speed(tmp_path: Path) -> None:
    clips = [clip(speed, shade) for shade, speed in enumerate((0.0, 0.5, 1.0, 2.0, 2.0, 0.5))]
    seen: list[int] = []
    corpus, pictures = actors.measure_actors(Sampler(), clips, on_progress=lambda done, total: seen.append(done))
    report = actors.ActorReport([corpus], actors._sheet(pictures))
    lines = report.lines()
    assert lines[0] == "world: 6 clips of 32x32, 9 frames, seeds 900000 to 900005; later frames"
    assert "codec 2x4x4, 3" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == [
        "all",
        "actors",
        "0",
        "0.3",
        "1",
        "2",
        "over",
        "block",
        "flicker,",
        "at",
    ]
    assert lines[8].split()[-5:] == ["-", "-", "-", "0.00%", "0"]
    value, low, high = corpus.gain(1)
    assert low < value < high
    report.write(tmp_path)
    tree = json.loads((tmp_path / "codec.json").read_text())["world"]
    assert tree["psnr"]["actors"]["gain"] == [value, low, high]
    assert tree["psnr"]["over 4"]["codec"] == [None, None, None]
    assert tree["psnr"]["0.3 to 1"]["clips"] == 2
    assert (tmp_path / "codec.png").stat().st_size > 0
    assert seen == [1, 2, 3, 4, 5, 6]


def test_sizes_that_cells_do_not_divide_are_refused() -> None:
    with pytest.raises(SizeError, match="at least 2"):
        actors.measure_actors(Sampler(), [clip()])
    odd = RenderedClip(Video(clip().video.frames[:8], 8.0), {}, clip().maps)
    with pytest.raises(SizeError, match="32x32 with 8 frames: the codec's cells of 2x4x4 don't divide it"):
        actors.measure_actors(Sampler(), [odd, odd])
    with pytest.raises(SizeError, match="must be below 1000000"):
        actors.draw_unseen(3, seed=999_998)


@pytest.mark.rendering
def test_unseen_clips_have_masks_and_the_seeds_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "NUM_FRAMES", 2)
    first, second = actors.draw_unseen(2, "16x16")
    (again,) = actors.draw_unseen(1, "16x16", actors.UNSEEN + 1)
    assert first.video.frames.shape == (2, 16, 16, 3)
    assert (second.video.frames == again.video.frames).all()
    assert (first.video.frames != second.video.frames).any()
    assert first.maps.masks is not None
    assert first.maps.masks.any()
