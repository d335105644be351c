"""Datasets of emoji from tiny packages: reproducible, resumable, split by combination; and what they refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.worlds.emoji.packages import animate, config, contents
from vitascope.cli import main
from vitascope.data.clips import list_clips
from vitascope.data.emoji_packages import find_characters
from vitascope.data.render_emoji import prepare_emoji
from vitascope.errors import ConfigError, DatasetError, MediaError
from vitascope.video import read_video
from vitascope.worlds.emoji.animation import read_animation
from vitascope.worlds.emoji.captions import captions
from vitascope.worlds.emoji.scene import (
    BACKDROPS,
    MOTIONS,
    is_held_out,
    sample_scene,
)


def test_a_record_says_what_its_media_shows(reference, characters):
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(reference.glob("clips/*.json"))]
    clips = list_clips(reference)  # as training reads them
    assert [record["id"] for record in records] == [clip.id for clip in clips] == [f"{k:06d}" for k in range(6)]
    assert {record["num_frames"] == 1 for record in records} == {True, False}
    for record, clip in zip(records, clips, strict=True):
        video = clip.read()
        assert video.frames.shape == (record["num_frames"], record["height"], record["width"], 3)
        scene = sample_scene(characters, record["seed"])
        assert record["attributes"] == scene.attributes()
        assert record["captions"] == captions(scene, is_image=record["num_frames"] == 1)
        assert len(record["truth"]["frames"]) == record["num_frames"]
        assert all(len(frame["actors"]) == len(scene.actors) for frame in record["truth"]["frames"])
    stated = json.loads((reference / "dataset.json").read_text())
    assert (stated["kind"], stated["num_clips"], stated["split"]) == ("emoji", 6, "train")
    assert str(Path.home()) not in (reference / "clips" / "000000.json").read_text(encoding="utf-8")


def test_clips_do_not_depend_on_the_number_of_processes(reference, source, tmp_path):
    """Checked to fail: with a scene's seed that also takes the process id."""
    seen: list[tuple[int, int]] = []
    prepare_emoji(source, tmp_path, config(), num_workers=2, on_progress=lambda *at: seen.append(at))
    assert contents(tmp_path) == contents(reference)
    assert (seen[0], seen[-1]) == ((0, 6), (6, 6))


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_killed_run_goes_on(reference, source, tmp_path):
    """Checked to fail: when the missing clips are renumbered."""
    command = [
        sys.executable,
        "-m",
        "vitascope",
        "prepare",
        "emoji",
        str(source),
        "-o",
        str(tmp_path),
        "--workers",
        "2",
    ]
    options = "--clips 900 --size 32x32 --size 48x32 --frames 5 --frames 3 --image-share 0.3"
    command += options.split()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("clips/[0-9]*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    time.sleep(1)  # its processes notice and go
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("clips/00000[0-5].json")}
    assert made
    assert len(list(tmp_path.glob("clips/[0-9]*.json"))) < 900
    prepare_emoji(source, tmp_path, config(), num_workers=1)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    found = contents(tmp_path)
    assert {name: found[name] for name in contents(reference)} == contents(reference)


def test_an_interruption_leaves_whole_clips(reference, source, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_emoji(source, tmp_path, config(), num_workers=1, on_progress=interrupt)
    assert sorted(contents(tmp_path)) == sorted(contents(reference))[:4]
    prepare_emoji(source, tmp_path, config(), num_workers=1)
    assert contents(tmp_path) == contents(reference)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_held_out_combinations_are_never_trained_on(characters, share):
    """Checked to fail: when sample_scene takes the first scene that it draws."""
    held_out, trained = set(), set()
    for seed in range(300):
        for split, combinations in (("train", trained), ("held_out", held_out)):
            scene = sample_scene(characters, seed, split, share)
            found = {(a.character.name.en, a.motion, scene.place) for a in scene.actors}
            kept = {c for c in found if is_held_out(next(x for x in characters if x.name.en == c[0]), *c[1:], share)}
            assert bool(kept) == (split == "held_out")
            combinations |= kept if split == "held_out" else found
    assert not held_out & trained
    assert len(held_out) > 20
    every = [is_held_out(c, m, p, share) for c in characters for m in MOTIONS for p in BACKDROPS]
    assert np.mean(every) == pytest.approx(share, abs=0.05)


def test_the_held_out_split_can_be_asked_for(source, characters, tmp_path, capsys):
    words = [
        "prepare",
        "emoji",
        str(source),
        "-o",
        str(tmp_path),
        "--clips",
        "1",
        "--workers",
        "1",
        "--image-share",
        "1",
    ]
    assert main([*words, "--split", "held_out", "--size", "32x32", "--seed", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    record = json.loads((tmp_path / "clips" / "000000.json").read_text(encoding="utf-8"))
    assert record["attributes"] == sample_scene(characters, 30_000_000, "held_out").attributes()


def test_a_split_without_combinations_is_refused(source, tmp_path):
    with pytest.raises(ConfigError, match=r"leaves the split .* empty"):
        prepare_emoji(source, tmp_path, config(split="held_out", held_out_share=0.0))
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_one_line_with_the_commands(source, tmp_path, capsys):
    folder = tmp_path / "packages"
    complaints = []
    for _ in range(3):
        assert main(["prepare", "emoji", str(folder), "-o", str(tmp_path / "out"), "--clips", "1"]) == 2
        complaints.append(capsys.readouterr().err)
        if not folder.exists():
            folder.mkdir()
        else:
            for language in ("en", "zh"):
                (folder / language).mkdir(exist_ok=True)
                names = source / "package" / language / "data.json"
                (folder / language / "data.json").write_bytes(names.read_bytes())
    for complaint, problem in zip(complaints, ("no folder", "no names", "no animated emoji"), strict=True):
        assert complaint.count("\n") == 1
        assert problem in complaint
        assert "npm pack @lobehub/fluent-emoji-anim-1" in complaint
        assert "tar xf" in complaint
    assert not (tmp_path / "out").exists()


def test_without_pillow_there_is_one_line(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert main(["prepare", "emoji", str(source), "-o", str(tmp_path / "out"), "--clips", "1"]) == 2
    assert "vitascope[data]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_list_of_emoji_are_refused(tmp_path):
    for language in ("en", "zh"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "data.json").write_text("{}" if language == "en" else "[3]")
    with pytest.raises(DatasetError, match=r"is not emojibase.s list of emoji"):
        find_characters(tmp_path)


def test_a_damaged_animation_is_named(tmp_path):
    animate(tmp_path / "a.webp")
    (tmp_path / "a.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:60])
    with pytest.raises(MediaError, match=r"a\.webp"):
        read_animation(tmp_path / "a.webp")


def test_other_settings_or_other_emoji_into_the_same_folder_are_refused(reference, source, tmp_path):
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        prepare_emoji(source, reference, config(seed=1))
    for language in ("en", "zh"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "data.json").write_bytes((source / "package" / language / "data.json").read_bytes())
    animate(tmp_path / "assets" / "1f438.webp")
    with pytest.raises(ConfigError, match=r"other settings \(characters\)"):
        prepare_emoji(tmp_path, reference, config())


def test_a_clip_reads_like_any_other(reference):
    record = json.loads((reference / "clips" / "000000.json").read_text(encoding="utf-8"))
    suffix = "png" if record["num_frames"] == 1 else "mp4"
    assert read_video(reference / "clips" / f"000000.{suffix}").num_frames == record["num_frames"]
