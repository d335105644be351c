"""Cached videos are generated once, and found by their prompts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from vitascope.errors import ConfigError, DatasetError, MediaError
from vitascope.evaluate.measures.video_cache import (
    VideoJob,
    find_videos,
    fingerprint,
    generate_missing,
    read_cached,
    write_prompts,
)
from vitascope.generate.requests import Generate
from vitascope.video import Video, read_video, write_video


def grey(level: int = 100) -> Video:
    return Video(np.full((3, 16, 16, 3), level, np.uint8), 8.0)


class Runner:
    """Runs requests and keeps them; fails at one of them."""

    def __init__(self, fails_at: int = -1) -> None:
        self.requests: list[Generate] = []
        self.fails_at = fails_at

    def __call__(self, request: Generate) -> Video:
        if len(self.requests) == self.fails_at:
            raise KeyboardInterrupt
        self.requests.append(request)
        return grey()


def test_what_was_made_before_an_interruption_is_not_made_again(tmp_path: Path) -> None:
    """Fails when cached files are ignored, or the prompts are written only at the end."""
    prompts = [f"prompt {k}" for k in range(5)]
    jobs = [VideoJob(f"{k}", text, Generate(prompt=text, seed=k)) for k, text in enumerate(prompts)]
    with pytest.raises(KeyboardInterrupt):
        generate_missing(jobs, Runner(fails_at=3), tmp_path / "made", {"seed": 0})
    runner, steps = Runner(), list[tuple[int, int]]()
    paths = generate_missing(jobs, runner, tmp_path / "made", {"seed": 0}, lambda *done: steps.append(done))
    assert runner.requests == [job.request for job in jobs[3:]]
    assert steps == [(1, 2), (2, 2)]
    assert all(read_video(path).num_frames == 3 for path in paths.values())
    assert find_videos(tmp_path / "made", {f"{k}": text for k, text in enumerate(prompts)}) == paths
    with pytest.raises(ConfigError, match="made with other settings"):
        generate_missing(jobs, runner, tmp_path / "made", {"seed": 1})


def test_what_is_measured_to_the_pixel_is_kept_so(tmp_path: Path) -> None:
    noise = Video(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8), 12.5)
    for exact in (True, False):
        job = VideoJob("a", "noise", noise)
        path = generate_missing([job], lambda request: request, tmp_path / str(exact), {}, exact=exact)["a"]
        assert np.array_equal(read_cached(path).frames, noise.frames) == exact
        assert read_cached(path).fps == 12.5


def test_one_bit_changed_in_a_cached_video_is_refused_or_harmless(tmp_path: Path) -> None:
    """Fails with errors of zip and deflate, which are of many types."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, frames=np.random.default_rng(0).integers(0, 16, (3, 16, 16, 3), dtype=np.uint8), fps=8.0)
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    frames = read_cached(path).frames
    for trial in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged[: draw.randrange(len(content)) if trial % 4 == 0 else None])
        try:
            video = read_cached(path)
        except MediaError:
            refused += 1
        else:
            assert np.array_equal(video.frames, frames)
    assert refused > 150
    path.write_bytes(b"PK")
    with pytest.raises(MediaError, match="delete it"):
        read_cached(path)


def test_damaged_settings_of_cached_videos_are_one_line(tmp_path: Path) -> None:
    generate_missing([], Runner(), tmp_path, {"seed": 0})
    (tmp_path / "made.json").write_bytes(b"{\xff}")
    with pytest.raises(ConfigError, match="made with other settings"):
        generate_missing([], Runner(), tmp_path, {"seed": 0})


def test_answers_are_found_by_prompt_whatever_their_files_are_called(tmp_path: Path) -> None:
    for name in ("b", "x", "y", "z"):
        write_video(grey(), tmp_path / f"{name}.mp4")
    (tmp_path / "x.txt").write_text("a red ball rolls")
    (tmp_path / "y.json").write_text(json.dumps({"prompt": "一只猫"}), encoding="utf-8")
    table = [{"file_name": "z.mp4", "caption": "twice"}, {"file_name": "b.mp4", "caption": "twice"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, table)))
    prompts = {"ball": "a red  ball rolls", "cat": "一只猫", "a": "twice", "b": "twice", "none": "a cone"}
    found = find_videos(tmp_path, prompts)
    assert {name: path.name for name, path in found.items()} == {
        "ball": "x.mp4", "cat": "y.mp4", "a": "b.mp4", "b": "b.mp4",
    }  # fmt: skip
    with pytest.raises(DatasetError, match=r"no video .* has one of the 1 prompts"):
        find_videos(tmp_path, {"none": "a cone"})


def test_prompts_are_written_in_a_form_that_is_read_again(tmp_path: Path) -> None:
    write_prompts([VideoJob("a", "一只猫", None)], tmp_path / "prompts")
    assert (tmp_path / "prompts" / "metadata.jsonl").read_text(encoding="utf-8") == (
        '{"file_name": "a.mp4", "prompt": "一只猫"}\n'
    )


def test_a_model_that_was_trained_on_is_another(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"_sha256": "1"}')
    (tmp_path / "notes.txt").write_text("one")
    before = fingerprint(tmp_path)
    (tmp_path / "notes.txt").write_text("other")
    assert fingerprint(tmp_path) == before
    (tmp_path / "vae" / "config.json").write_text('{"_sha256": "2"}')
    assert fingerprint(tmp_path) != before
