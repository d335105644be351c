"""Rendered datasets: independent of interruptions and of the number of processes."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.config import parse_config
from vitascope.data import render as dataset
from vitascope.data.maps import read_maps
from vitascope.data.production import missing_clips
from vitascope.data.render import RenderConfig, render_dataset
from vitascope.errors import ConfigError, DatasetError, RenderError
from vitascope.video import read_video
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

rendering = pytest.mark.rendering
SMALL: dict[str, Any] = {"num_clips": 5, "sizes": ["32x32", "48x32"], "num_frames": [3, 2], "image_share": 0.4}


def config(**changes: Any) -> RenderConfig:
    return parse_config({**SMALL, **changes}, RenderConfig)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "clips").iterdir()}


def assert_same_clips(folder: Path, reference: Path) -> None:
    """Records must agree to the byte; of pictures a driver's rounding may differ, which no eye can see."""
    found, wanted = contents(folder), contents(reference)
    assert sorted(found) == sorted(wanted)
    for name in sorted(found):
        if name.endswith(".json"):
            assert found[name].decode() == wanted[name].decode(), name
        elif found[name] != wanted[name]:
            a, b = (read_video(each / "clips" / name).frames.astype(int) for each in (folder, reference))
            assert a.shape == b.shape, name
            difference = np.abs(a - b)
            assert difference.mean() < 0.25, f"{name} differs by {difference.mean()}, at most {difference.max()}"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_dataset(config(), tmp_path_factory.mktemp("world"), num_workers=1)


def test_a_record_tells_of_the_shots_that_its_frames_show() -> None:
    """The cuts are the frames at which the truth's shot changes. A clip too short for all shots has no cuts."""
    scene = next(scene for scene in map(sample_scene, range(99)) if len(scene.shots) == 3)
    told = dataset.shot_fields(scene, 17)
    assert told["cuts"] == scene.first_frames(17)[1:]
    assert [len(way["shots"]) for ways in told["storyboards"].values() for way in ways] == [3] * 8
    assert json.loads(json.dumps(told)) == told
    assert dataset.shot_fields(scene, 2) == dataset.shot_fields(scene, 1) == {}
    assert dataset.shot_fields(next(s for s in map(sample_scene, range(9)) if len(s.shots) == 1), 17) == {}


def seconds(record: dict[str, Any]) -> float:
    return math.inf if record["num_frames"] == 1 else (record["num_frames"] - 1) / record["fps"]


@rendering
def test_the_cuts_of_a_record_are_those_of_its_truth(tmp_path: Path) -> None:
    number = next(k for k in range(99) if len(sample_scene(k, seconds=2.0).shots) == 2)
    settings = config(num_clips=number + 1, num_frames=[17], sizes=["16x16"], image_share=0.0)
    (tmp_path / "clips").mkdir()
    record = json.loads(dataset.render_clip(settings, number, tmp_path).read_text(encoding="utf-8"))
    shots = [frame["shot"] for frame in record["truth"]["frames"]]
    assert record["cuts"] == [shots.index(1)]


@rendering
def test_a_record_says_what_its_media_shows(reference: Path) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(reference.glob("clips/*.json"))]
    assert [record["id"] for record in records] == [f"{k:06d}" for k in range(5)]
    assert {record["num_frames"] == 1 for record in records} == {True, False}
    for record in records:
        suffix = "png" if record["num_frames"] == 1 else "mp4"
        video = read_video(reference / "clips" / f"{record['id']}.{suffix}")
        assert (video.num_frames, video.height, video.width) == tuple(
            record[k] for k in ("num_frames", "height", "width")
        )
        if suffix == "mp4":
            assert video.fps == record["fps"] == 8.0
        scene = sample_scene(record["seed"], seconds=seconds(record))
        assert record["captions"] == captions(scene, is_image=suffix == "png")
        assert record["attributes"] == scene.attributes()
        assert ("storyboards" in record) == (len(scene.shots) > 1 and suffix == "mp4")
        assert record["scene"] == json.loads(json.dumps(scene.as_dict()))
        assert len(record["truth"]["frames"]) == record["num_frames"]
        assert all(len(frame["actors"]) == len(scene.actors) for frame in record["truth"]["frames"])
    assert json.loads((reference / "dataset.json").read_text())["num_clips"] == 5


@rendering
def test_maps_are_stored_next_to_the_clips_and_change_nothing_else(reference: Path, tmp_path: Path) -> None:
    """And a clip that lost its maps is rendered again. Checked to fail: when the record is written without them."""
    settings = config(truth=["masks", "flow"])
    render_dataset(settings, tmp_path, num_workers=1)
    for k in range(5):
        maps, drawn = read_maps(tmp_path / "clips" / f"{k:06d}.maps.npz"), dataset.draw_clip(settings, k)
        assert maps.depth is None
        assert maps.flow is not None
        assert drawn.maps.flow is not None
        assert (maps.masks == drawn.maps.masks).all()
        assert maps.flow == pytest.approx(drawn.maps.flow, rel=1e-3, abs=1e-3)
        (tmp_path / "clips" / f"{k:06d}.maps.npz").unlink()
        record = json.loads((tmp_path / "clips" / f"{k:06d}.json").read_text())
        assert record.pop("maps") == ["masks", "flow"]
        assert record == json.loads((reference / "clips" / f"{k:06d}.json").read_text())
    assert missing_clips(tmp_path, 5) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="other settings \\(truth\\)"):
        render_dataset(config(), tmp_path, num_workers=1)


def test_damaged_maps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "000000.maps.npz"
    with pytest.raises(DatasetError, match="render the clip again"):
        read_maps(path)
    for content in (b"", b"PK\x03\x04 no archive", b"\x80\x04K\x01."):  # the last is a pickle
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="render the clip again"):
            read_maps(path)
    np.savez(path, masks=np.zeros((2, 4), np.float64))
    with pytest.raises(DatasetError, match="holds no masks"):
        read_maps(path)


@rendering
def test_an_image_shows_everybody_its_captions_name(tmp_path: Path) -> None:
    """Also an actor behind a wall at that time. Checked to fail: when an image is always of the drawn second."""
    images = config(image_share=1.0, num_clips=120)
    hides = [k for k in range(120) if sample_scene(images.scene_seed(k)).shots[0].acts[0].motion == "hide"]
    (tmp_path / "clips").mkdir()
    for k in hides[:6]:
        record = json.loads(dataset.render_clip(images, k, tmp_path).read_text(encoding="utf-8"))
        assert all(actor["area"] > 0 for actor in record["truth"]["frames"][0]["actors"])


@rendering
def test_clips_do_not_depend_on_the_number_of_processes(reference: Path, tmp_path: Path) -> None:
    """Checked to fail: with a random generator shared by all clips."""
    seen: list[tuple[int, int]] = []
    render_dataset(config(), tmp_path, num_workers=2, on_progress=lambda done, total: seen.append((done, total)))
    assert_same_clips(tmp_path, reference)
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)


@rendering
def test_an_interrupted_render_goes_on(reference: Path, tmp_path: Path) -> None:
    """Checked to fail: when the missing clips are renumbered."""

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(config(), tmp_path, num_workers=1, on_progress=interrupt)
    assert len(list(tmp_path.glob("clips/*.json"))) == 2
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("clips/*.json")}
    seen: list[int] = []
    render_dataset(config(), tmp_path, num_workers=1, on_progress=lambda done, total: seen.append(done))
    assert seen == [2, 3, 4, 5]
    assert_same_clips(tmp_path, reference)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@rendering
def test_an_error_within_a_clip_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError("no space left on device")

    (tmp_path / "clips").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            dataset.render_clip(config(), 0, tmp_path)
    assert [path.suffix for path in (tmp_path / "clips").iterdir()] == [".mp4"]
    render_dataset(config(num_clips=1), tmp_path, num_workers=1)
    assert len(list(tmp_path.glob("clips/*"))) == 2


@rendering
@pytest.mark.parametrize("damage", ["", "{", '{"id": "000001"}', "[]", "null", "\u00e9", None])
def test_a_clip_with_a_damaged_record_is_rendered_again(reference: Path, tmp_path: Path, damage: str | None) -> None:
    """Checked to fail: when a record counts as long as its file exists."""
    folder = shutil.copytree(reference, tmp_path / "world")
    record = folder / "clips" / "000001.json"
    record.unlink() if damage is None else record.write_bytes(damage.encode("latin-1"))
    render_dataset(config(), folder, num_workers=1)
    assert record.read_text(encoding="utf-8") == (reference / "clips" / record.name).read_text(encoding="utf-8")


@rendering
def test_a_clip_that_lost_its_media_is_rendered_again(reference: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(reference, tmp_path / "world")
    media = next(path for path in (folder / "clips").iterdir() if path.suffix != ".json")
    media.unlink()
    render_dataset(config(), folder, num_workers=1)
    assert_same_clips(folder, reference)


@rendering
def test_clips_can_be_added_and_are_never_forgotten(reference: Path, tmp_path: Path) -> None:
    render_dataset(config(num_clips=1), tmp_path, num_workers=1)
    render_dataset(config(), tmp_path, num_workers=1)
    assert_same_clips(tmp_path, reference)
    render_dataset(config(num_clips=1), tmp_path, num_workers=1)
    assert_same_clips(tmp_path, reference)
    assert json.loads((tmp_path / "dataset.json").read_text())["num_clips"] == 5


@rendering
@pytest.mark.parametrize("change", [{"seed": 1}, {"sizes": ["32x32"]}, {"split": "held_out"}, {"num_frames": [5]}])
def test_another_config_into_the_same_folder_is_refused(reference: Path, change: dict[str, Any]) -> None:
    before = contents(reference)
    with pytest.raises(ConfigError, match=f"other settings \\({next(iter(change))}\\)"):
        render_dataset(config(**change), reference, num_workers=1)
    assert contents(reference) == before


@rendering
@pytest.mark.parametrize("text", ["", "[]", "{}", '"x"', '{"num_clips": null}'])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ConfigError, match="not a dataset's settings"):
        render_dataset(config(), tmp_path, num_workers=1)


@rendering
def test_held_out_clips_hold_held_out_scenes(tmp_path: Path) -> None:
    render_dataset(config(num_clips=1, split="held_out"), tmp_path, num_workers=1)
    record = json.loads((tmp_path / "clips" / "000000.json").read_text(encoding="utf-8"))
    assert (
        record["attributes"]
        == sample_scene(0, "held_out", seconds=seconds(record)).attributes()
        != sample_scene(0).attributes()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": ["63x64"]},
        {"sizes": ["64x64", "64"]},
        {"sizes": ["8x8"]},
        {"sizes": ["64x-64"]},
        {"sizes": ["4096x4096"]},
        {"sizes": ["64×64"]},
        {"sizes": ["٦٤x٦٤"]},
        {"sizes": ["320x64"]},
        {"sizes": ["64x320"]},
        {"sizes": []},
        {"num_frames": [0]},
        {"num_frames": [200_000]},
        {"num_frames": []},
        {"fps": [0.5]},
        {"fps": [float("nan")]},
        {"fps": [float("inf")]},
        {"fps": []},
        {"num_clips": 0},
        {"num_clips": 1_000_001},
        {"seed": -1},
        {"image_share": 1.5},
        {"held_out_share": 1.0},
        {"split": "held_out", "held_out_share": 0.0},
        {"split": "train", "held_out_share": 0.999999},
        {"split": "test"},
        {"colour": "red"},
    ],
)
def test_a_bad_config_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config(**change)


def test_without_opengl_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RenderError("can't render")

    monkeypatch.setattr(dataset, "check_renderer", missing)
    with pytest.raises(RenderError):
        render_dataset(config(), tmp_path / "world")
    assert not (tmp_path / "world").exists()


@rendering
def test_a_process_that_dies_is_one_line_and_costs_nothing_finished(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if done and not killed:
            process = next(child for child in multiprocessing.active_children() if "Spawn" in type(child).__name__)
            killed.append(process.pid or 0)
            process.kill()

    with pytest.raises(RenderError, match="run it again"):
        render_dataset(config(num_clips=300), tmp_path, num_workers=2, on_progress=kill_one)
    assert 1 <= len(list(tmp_path.glob("clips/[0-9]*.json"))) < 300


@rendering
@pytest.mark.skipif(os.name == "nt", reason="no process groups")
@pytest.mark.parametrize("sign_of_life", ["x/dataset.json", "x/clips/[0-9]*.json"])
def test_ctrl_c_stops_every_process_without_a_traceback(tmp_path: Path, sign_of_life: str) -> None:
    """As a terminal does it: the whole group gets the signal, while the processes start or while they draw.

    Checked to fail: with workers that hear it, which complain when it meets them at their start.
    """
    command = [sys.executable, "-m", "vitascope", "render", "-o", str(tmp_path / "x"), "--workers", "2"]
    command += ["--clips", "500", "--size", "32x32", "--frames", "3"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(sign_of_life)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaints.splitlines()[-1].endswith("interrupted")
    assert "Traceback" not in complaints
    assert len(list(tmp_path.glob("x/clips/[0-9]*.json"))) < 500
    assert not list(tmp_path.glob("x/clips/.*"))
