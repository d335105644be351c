"""Given footage is fitted the same whether it comes as a file or as frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.stills import STILLS, write_frames
from vitascope.generate.footage import fit_image, fit_video, is_image, pad_to
from vitascope.generate.recording import makes_image
from vitascope.generate.requests import Edit
from vitascope.video import Video, write_video
from vitascope.video.shape import FrameShape


def test_a_video_and_its_file_give_the_same_frames(tmp_path: Path) -> None:
    """At 24 fps, every third frame. Fails when frames are sampled at the middle of each new frame's interval."""
    levels = np.linspace(20, 230, 25).round().astype(np.uint8)
    video = Video(np.broadcast_to(levels[:, None, None, None], (25, 32, 32, 3)).copy(), 24.0)
    write_video(video, tmp_path / "ramp.mp4")
    shape = FrameShape(32, 32, 8.0)
    frames, file = (fit_video(media, shape).frames.mean(axis=(1, 2, 3)) for media in (video, tmp_path / "ramp.mp4"))
    assert frames[0] == 20
    np.testing.assert_allclose(frames[:8], levels[:24:3], atol=0.01)
    np.testing.assert_allclose(file[:8], frames[:8], atol=4)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_still_stays_one_frame_and_has_no_rate(tmp_path: Path, caplog, on_disk: bool) -> None:
    still = Video(np.zeros((1, 32, 48, 3), np.uint8), 1.0)
    media = still.save(tmp_path / "still.png") if on_disk else still
    assert fit_video(media, FrameShape(32, 48, 8.0)).num_frames == 1
    assert caplog.text == ""
    fit_video(media, FrameShape(32, 32, 8.0))
    assert "is 48x32; fitted to 32x32\n" in caplog.text


def test_a_picture_of_another_size_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """First and last images, references and masks are cropped. Fails without a warning."""
    still = Video(np.zeros((1, 32, 48, 3), np.uint8), 1.0)
    fit_image(still, 32, 48)
    assert caplog.text == ""
    fit_image(still.save(tmp_path / "still.png"), 32, 32)
    assert "still.png is 48x32; fitted to 32x32\n" in caplog.text


def test_footage_of_the_right_size_is_not_copied() -> None:
    video = Video(np.zeros((5, 32, 48, 3), np.uint8), 8.0)
    assert pad_to(video, 32, 48) is video
    assert pad_to(video, 48, 64).frames.shape == (5, 48, 64, 3)


@pytest.mark.parametrize(("name", "container", "codec", "pixels", "fps"), STILLS, ids=[still[0] for still in STILLS])
def test_an_image_is_what_decodes_as_one_frame(tmp_path, name, container, codec, pixels, fps):
    """Fails if the suffix or the header's duration decides. One frame shown for a second stays one frame."""
    path = write_frames(tmp_path / name, container, codec, pixels, fps)
    assert is_image(path)
    assert makes_image(Edit(video=path, prompt="snow", strength=0.5))
    assert fit_video(path, FrameShape(32, 32, 8.0)).num_frames == 1


@pytest.mark.parametrize(
    ("name", "container", "codec", "pixels"),
    [("a.png", "apng", "apng", "rgb24"), ("a.gif", "gif", "gif", "rgb8"), ("a.jpg", "mp4", "libx264", "yuv420p")],
)
def test_two_frames_are_no_image_whatever_the_suffix(tmp_path, name, container, codec, pixels):
    path = write_frames(tmp_path / name, container, codec, pixels, 8, num_frames=2)
    assert not is_image(path)
    assert not makes_image(Edit(video=path, prompt="snow", strength=0.5))
