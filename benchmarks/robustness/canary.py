"""Canary: no name and no file content makes FFmpeg open the network or another file.

    python -m benchmarks.robustness.canary

Listens on a TCP and a UDP port of this machine and watches a canary file. It then writes and reads videos under hostile
names, and reads playlists and other files that name the listeners and the canary file. Every name must give either that
file, with the frames written, or a one-line error.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from vitascope.errors import VitascopeError
from vitascope.progress import progress
from vitascope.video import GrowingVideo, Video, VideoWriter, read_comment, read_duration, read_video, write_video
from vitascope.video.formats import STILL

_PROTOCOLS = (
    "http",
    "https",
    "tcp",
    "udp",
    "tls",
    "dtls",
    "rtmp",
    "rtmpe",
    "rtmps",
    "rtmpt",
    "rtsp",
    "rtp",
    "srtp",
    "ftp",
    "gopher",
    "gophers",
    "srt",
    "sctp",
    "icecast",
    "mmsh",
    "mmst",
    "unix",
    "ipfs",
    "async",
    "cache",
    "crypto",
    "crypto+http",
    "md5",
    "tee",
    "prompeg",
    "fd",
)
HOSTILE = (
    "12:30:00.mp4",
    "file:b.mp4",
    "file:canary.mp4",
    "concat:canary.mp4|canary.mp4",
    "concatf:canary.mp4",
    "subfile,,start,0,end,64,,:canary.mp4",
    "async:canary.mp4",
    "cache:canary.mp4",
    "crypto:canary.mp4",
    "pipe:1.mp4",
    "pipe:.mp4",
    "data:video;base64,AAAA.mp4",
    "http:/127.0.0.1:{port}/a.mp4",
    "tcp:/127.0.0.1:{port}/a.mov",
    "-y.mp4",
    "--.mkv",
    "-.gif",
    "a%03d.mp4",
    "a%03d.png",
    "%d%s%n.jpg",
    "a\nb.mp4",
    "a\tb\r.mov",
    "\x1b[31mred\x07\x7f.mp4",
    b"caf\xe9.mp4".decode(errors="surrogateescape"),
    b"\xff\xfe.mkv".decode(errors="surrogateescape"),
    "x" * 251 + ".mp4",
    "\U0001f600" * 62 + ".mp4",
    "x" * 300 + ".mp4",
    " .mp4",
    "*?[ab]|,;&$HOME~`id`'\"\\.mp4",
    "\u202egpj.mp4",
    "a\0b.mp4",
)
NAMES = (*(f"{protocol}:127.0.0.1:{{port}}.mp4" for protocol in _PROTOCOLS), *HOSTILE)

_URLS = ("http://127.0.0.1:{port}/a.ts", "tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}", "canary.mp4", "{canary}")
_PLAYLISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "hls-key.ts": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n{url}\n',
    "concat.mkv": "ffconcat version 1.0\nfile '{url}'\n",
    "dash.mp4": '<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{url}\n",
    "asx.wmv": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "reference.asf": "[Reference]\nRef1={url}\nRef2={url}\n",
    "redirect.mov": "RTSPtext\n{url}\n",
    "imf.mxf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:{url}</Id></CompositionPlaylist>",
    "picture.png": '<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"><image href="{url}"/></svg>',
    "script.avi": 'FFmpegSource2("{url}")\n',
    "graph.mp4": "movie={url}\n",
    "subtitles.mkv": "# VobSub index file, v7\nid: en, index: 0\n",
}


# A process of its own, because PyAV keeps Python from answering while FFmpeg writes.
_LISTENERS = """
import select, socket, sys
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
tcp.bind(("127.0.0.1", 0))
udp.bind(tcp.getsockname())
tcp.listen()
print(tcp.getsockname()[1], flush=True)
while True:
    for ready in select.select([tcp, udp, sys.stdin], [], [])[0]:
        if ready is sys.stdin:
            sys.exit()
        if ready is tcp:
            tcp.accept()[0].close()
        else:
            udp.recv(65536)
        print("TCP port" if ready is tcp else "UDP port", flush=True)
"""


def main() -> int:
    """0 if nothing was hit and every trial gave its file or a one-line error."""
    parser = argparse.ArgumentParser(description="Count the network connections and foreign files that names open.")
    parser.add_argument("--trials", type=int, default=len(NAMES), metavar="N", help="try the first N names")
    options = parser.parse_args()
    names = NAMES[: options.trials]
    with tempfile.TemporaryDirectory() as folder, progress("names") as on_progress:
        failures, num_trials = run(Path(folder), names, on_progress)
    for failure in failures:
        print(ascii(failure))
    print(f"{len(names)} names in and out, {num_trials} trials: {len(failures)} failures")
    return int(bool(failures))


def run(
    folder: Path, names: tuple[str, ...], on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[str], int]:
    """(failures, number of trials) of the names and of all playlists; works in an empty folder."""
    failures: list[str] = []
    (folder / "work").mkdir()
    before = Path.cwd()
    os.chdir(folder / "work")  # names are relative, as on a command line
    try:
        write_video(Video(np.full((2, 32, 32, 3), (255, 0, 0), np.uint8), 8.0), "canary.mp4")
        with _listeners() as (port, hits), _watched(Path("canary.mp4")) as opened:
            values = {"port": str(port), "canary": str(Path("canary.mp4").absolute())}
            trials: list[tuple[str, Callable[[str], list[str]], str]] = [
                (f"name {name!r}", _name_trial, name.replace("{port}", str(port))) for name in names
            ]
            for name, text in _PLAYLISTS.items():
                for url in _URLS:
                    content = text.replace("{url}", url)
                    for key, value in values.items():
                        content = content.replace(f"{{{key}}}", value)
                    trials.append((f"playlist {name} of {url}", _playlist_trial, f"{name}\n{content}"))
            for number, (title, trial, argument) in enumerate(trials):
                try:
                    wrong = trial(argument)
                except Exception as error:
                    wrong = [f"{type(error).__name__}: {error}"]
                wrong += [*(f"opened the {hit}" for hit in hits()), *(["opened the canary"] * opened())]
                failures += [f"{title}: {each}" for each in wrong]
                if on_progress is not None:
                    on_progress(number + 1, len(trials))
    finally:
        os.chdir(before)
    return failures, len(trials)


def _name_trial(name: str) -> list[str]:
    """Failures of a name as an output and as an input; the file is removed afterwards."""
    path = Path(name)
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
    present = _files()
    frames = np.full((1 if path.suffix in STILL else 2, 32, 32, 3), 128, np.uint8)
    try:
        if path.suffix in STILL:
            write_video(Video(frames, 8.0), path)
        else:
            with GrowingVideo(path, 8.0, 32, 32) as growing, VideoWriter(path, 8.0, 32, 32, comment=name) as writer:
                growing.write(frames)
                writer.write(frames)
        found = read_video(path)
        read_duration(path)
        read_comment(path)
    except VitascopeError as error:
        is_one_line = len(str(error).splitlines()) == 1 or "\n" in name or "\r" in name
        can_exist = "\0" not in name and len(os.fsencode(path.name)) <= 255
        left = _files() - present
        wrong = [] if is_one_line else ["an error of several lines"]
        return wrong + ([f"refused: {error}"] if can_exist else []) + ([f"left {left}"] if left else [])
    made = _files() - present
    wrong = [] if made == {os.fsencode(path)} else [f"wrote {made}"]
    if found.frames.shape != frames.shape or abs(found.frames.astype(int) - 128).max() > 4:
        wrong.append("came back with other frames")
    path.unlink()
    return wrong


def _playlist_trial(argument: str) -> list[str]:
    """Failures of a file that names other files, read under a video's name."""
    name, _, content = argument.partition("\n")
    path = Path(name)
    path.write_text(content)
    wrong = []
    for read in (read_video, read_duration, read_comment):
        try:
            read(path)
            wrong.append(f"{read.__name__} accepted it")
        except VitascopeError as error:
            if "\n" in str(error):
                wrong.append(f"{read.__name__}: an error of several lines")
    path.unlink()
    return wrong


def _files() -> set[bytes]:
    return {os.fsencode(path) for path in Path().rglob("*") if path.is_file()}


@contextmanager
def _listeners() -> Iterator[tuple[int, Callable[[], list[str]]]]:
    """A port, and a function that returns the connections and datagrams that arrived there since its last call."""
    command = [sys.executable, "-I", "-c", _LISTENERS]  # ends with this process, whose end closes its input
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        os.set_blocking(process.stdout.fileno(), False)

        def hits() -> list[str]:
            assert process.stdout is not None
            return [line.decode().strip() for line in process.stdout.readlines()]

        try:
            yield port, hits
        finally:
            process.kill()


@contextmanager
def _watched(path: Path) -> Iterator[Callable[[], bool]]:
    """A function that tells whether a file was opened since its last call; on Linux only, elsewhere always False.

    Source: inotify(7).
    """
    if sys.platform != "linux":
        yield lambda: False
        return
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(descriptor, os.fsencode(path), ctypes.c_uint32(0x20))  # IN_OPEN

    def was_opened() -> bool:
        try:
            return len(os.read(descriptor, 1 << 16)) >= struct.calcsize("iIII")
        except BlockingIOError:
            return False

    try:
        yield was_opened
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
