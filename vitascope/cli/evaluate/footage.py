"""`vitascope evaluate codec|physics|coherence|distribution|length`: measures of pixels and motion."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vitascope.cli.evaluate.options import (
    MODEL_ONLY,
    Judge,
    KeptOut,
    Model,
    OptionalModel,
    OptionalSeed,
    Out,
    Theirs,
    check_exists,
    given_computing,
    show_report,
)
from vitascope.cli.options import (
    Device,
    Guidance,
    PrecisionOption,
    Rate,
    Seed,
    Size,
    Steps,
    check_file,
    check_folder,
    check_positive,
    check_size_text,
    refuse,
    refuse_unused,
    sides,
)
from vitascope.progress import progress


class FeatureName(StrEnum):
    """Features to compare videos on."""

    colours = "colours"
    changes = "changes"
    trunk = "trunk"


def evaluate_codec(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO|DATASET...]",
            help="Encode and decode these files, folders, datasets; else unseen clips of the world, scored on actors.",
            show_default=False,
        ),
    ] = None,
    model: OptionalModel = None,
    num_clips: Annotated[
        int | None, typer.Option("-n", min=2, max=2000, help="Draw this many unseen clips.", show_default="150")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", callback=check_size_text, help="Draw unseen clips of this size.", show_default="64x64"
        ),
    ] = None,
    emoji: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw clips of the emoji in these unpacked npm packages, too.")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure another system's copies with the same names instead."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=16, help="Resize clips to this height first.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many frames of each file.", show_default="49")
    ] = None,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Measure a codec: of unseen clips PSNR on actors next to PCA; of files PSNR, SSIM, features, flicker, seams."""
    from_files = {"--videos": videos, "--rows": rows, "--frames": frames}
    if not sources:
        refuse_unused(from_files, "is for files; without any, unseen clips are drawn")
        if emoji is not None:
            check_exists(emoji, "--emoji", folder=True)
        from vitascope.evaluate import actors

        report = actors.run(
            model=model or "playground",
            num_clips=num_clips or 150,
            size=size or "64x64",
            emoji=emoji,
            device=device,
            num_workers=os.cpu_count() or 1,
            progress=progress,
        )
        show_report(report, out)
        return
    refuse_unused({"-n": num_clips, "--size": size, "--emoji": emoji}, "is for unseen clips; the given files exist")
    if videos is not None:
        refuse_unused({"--model": model}, "encodes and decodes; --videos holds finished copies")
        check_exists(videos, "--videos", folder=True)
    for source in sources:
        check_exists(source)
    from vitascope.evaluate import codec

    report = codec.run(
        sources,
        model=model or "playground",
        videos=videos,
        rows=rows,
        max_frames=frames or 49,
        device=device,
        progress=progress,
    )
    show_report(report, out)


def evaluate_physics(
    model: Model = "playground",
    trials: Annotated[
        int, typer.Option("-n", min=1, max=1000, help="Run this many experiments per law and range.")
    ] = 4,
    seed: Seed = 0,
    given: Annotated[int, typer.Option(min=2, help="Give the model this many frames.")] = 5,
    videos: Theirs = None,
    write_given: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write inputs for another system: given frames, prompts.")
    ] = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: Out = None,
) -> None:
    """Continue experiments with rolling, thrown, bouncing, colliding and swinging balls; errors in cm and cm/s."""
    if write_given is not None:
        check_folder(write_given, "--write-given")
    computing = given_computing(device, dtype)
    if write_given is not None:
        unused = {"--videos": videos, "--out": out, **computing}
        refuse_unused(unused, "is for scoring; --write-given only writes files")
    if videos is not None:
        refuse_unused(computing, MODEL_ONLY)
        check_exists(videos, "--videos", folder=True)
    from vitascope.evaluate import physics

    experiments: dict[str, Any] = {"model": model, "num_trials": trials, "seed": seed, "num_given": given}
    if write_given is not None:
        typer.echo(physics.write_given(write_given, **experiments))
        return
    show_report(physics.run(**experiments, videos=videos, device=device, dtype=dtype, progress=progress), out)


def evaluate_coherence(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO|FOLDER...]",
            help="Measure these files, folders, datasets; else a model.",
            show_default=False,
        ),
    ] = None,
    model: OptionalModel = None,
    num_videos: Annotated[
        int | None, typer.Option("-n", min=1, max=10_000, help="Generate this many videos.", show_default="12")
    ] = None,
    seed: OptionalSeed = None,
    frames: Annotated[
        int | None, typer.Option(min=6, help="Use at most this many frames of each file.", show_default="241")
    ] = None,
    cuts: Annotated[int, typer.Option(min=0, help="Expect this many cuts in each video.")] = 0,
    time_stride: Annotated[
        int | None,
        typer.Option(min=1, help="Set the frames per latent frame of the codec that made the files.", show_default="4"),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Expect videos to loop.")] = False,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: Out = None,
) -> None:
    """Find hidden cuts, flicker, steps between latents, drift, objects that vanish, and bounces that gain height."""
    if sources:
        unused = {"--model": model, "-n": num_videos, "--seed": seed, **given_computing(device, dtype)}
        refuse_unused(unused, MODEL_ONLY)
    else:
        refuse_unused({"--frames": frames}, "is for files; a model's videos have its own length")
        refuse_unused({"--time-stride": time_stride}, "is for files; a model's codec has its own stride")
    for source in sources or []:
        check_exists(source)
    from vitascope.evaluate import coherence

    report = coherence.run(
        sources or [],
        model=model or "playground",
        num_videos=num_videos or 12,
        seed=seed or 0,
        max_frames=frames or 241,
        num_cuts=cuts,
        loops=loop,
        **({} if time_stride is None else {"time_stride": time_stride}),
        device=device,
        dtype=dtype,
        progress=progress,
    )
    show_report(report, out)


def evaluate_distribution(
    real: Annotated[
        Path, typer.Option(metavar="DIR", help="Compare with this dataset or folder of videos.", show_default=False)
    ],
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO|FOLDER...]", help="Measure these generated videos; else a model.", show_default=False
        ),
    ] = None,
    model: OptionalModel = None,
    features: Annotated[
        list[FeatureName] | None,
        typer.Option(help="Compare these features; repeatable.", show_default="all"),
    ] = None,
    num_clips: Annotated[
        int, typer.Option("-n", min=16, max=100_000, help="Use at most this many clips; twice as many real ones.")
    ] = 256,
    seed: Seed = 0,
    frames: Annotated[int, typer.Option(min=2, help="Use at most this many frames of each clip.")] = 241,
    judge: Judge = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: KeptOut = None,
) -> None:
    """Frechet distances of generated from real clips, next to those of real and degraded clips. Run again to resume."""
    if videos:
        refuse_unused({"--model": model, **given_computing("auto", dtype)}, MODEL_ONLY)
    for source in (real, *(videos or [])):
        check_exists(source)
    from vitascope.evaluate import distribution

    report = distribution.run(
        real,
        videos or [],
        model=model or "playground",
        features=[feature.value for feature in features or FeatureName],
        num_clips=num_clips,
        seed=seed,
        max_frames=frames,
        judge=judge,
        device=device,
        dtype=dtype,
        out=out,
        progress=progress,
    )
    show_report(report, out)


def evaluate_length(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SHORT LONG]", help="Measure these two videos; else a model.", show_default=False),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Generate both videos from this.", show_default="a bouncing ball")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(callback=check_positive, help="Length of the long video.", show_default="60")
    ] = None,
    short: Annotated[
        float | None, typer.Option(callback=check_positive, help="Length of the short video.", show_default="10")
    ] = None,
    size: Size = None,
    fps: Rate = None,
    seed: OptionalSeed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    model: OptionalModel = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: KeptOut = None,
) -> None:
    """Compare a long video with a short one: time, memory, drift, cuts and joins of windows."""
    height, width = sides(size)
    fields = {"height": height, "width": width, "fps": fps, "seed": seed, "num_steps": steps, "guidance": guidance}
    if videos:
        lengths = {"--prompt": prompt, "--seconds": seconds, "--short": short, "--size": size, "--fps": fps}
        others = {"--seed": seed, "--steps": steps, "--guidance": guidance, "--model": model}
        refuse_unused({**lengths, **others, **given_computing(device, dtype)}, MODEL_ONLY)
        if len(videos) != 2:
            refuse(f"give two videos, a short one and a long one, not {len(videos)}")
        for video in videos:
            check_file(video)
    from vitascope.evaluate import length

    both = short or length.SECONDS[0], seconds or length.SECONDS[1]
    if both[1] <= both[0]:
        refuse(f"--seconds {both[1]:g} is no longer than --short {both[0]:g}")
    report = length.run(
        (videos[0], videos[1]) if videos else None,
        prompt=prompt or length.PROMPT,
        seconds=both,
        options={name: value for name, value in fields.items() if value is not None},
        model=model or "playground",
        device=device,
        dtype=dtype,
        out=out,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    show_report(report, out)
