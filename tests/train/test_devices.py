"""One training step on a second device: no operation mixes devices, and CUDA agrees with the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.devices import MixedDevicesError, OneDevice
from vitascope.codec.network import Codec, CodecConfig
from vitascope.config import parse_config
from vitascope.data.caches import EncodedClip
from vitascope.data.clips import Clip
from vitascope.hub import registry
from vitascope.hub.weights import save_network
from vitascope.judge.batches import JudgeBatch
from vitascope.judge.grounding import ActorTrack, known_kinds, labels
from vitascope.judge.train import JudgeTask
from vitascope.judge.train_config import JudgeTrainConfig
from vitascope.kernels.device import CPU, META
from vitascope.train.codec import CodecBatch, CodecTask, CodecTrainConfig
from vitascope.train.loop import Loss, Task, Trainer
from vitascope.train.packs import BatchMaker
from vitascope.train.run import seeded, step_generator
from vitascope.train.transformer import TransformerTask
from vitascope.train.transformer_config import TransformerTrainConfig
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

TEXT_ENCODER = Path(__file__).parents[2] / "vitascope" / "models" / "playground" / "text_encoder"
RUN = {"data": "clips", "warmup": 1, "precision": "float32"}
Make = Callable[[str, Path], tuple[Task[Any], Any]]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def codec(device: str, folder: Path, adversarial_from: float = 0.0) -> tuple[CodecTask, CodecBatch]:
    """With all that a codec's loss can have: linear path, perceptual distance, adversary."""
    loss = {"perceptual": 0.1, "adversarial": 0.1, "adversarial_from": adversarial_from}
    network = {"latent_channels": 4, "base_width": 8, "linear_path": True}
    config = parse_config({**RUN, "device": device, "loss": loss, "codec": network}, CodecTrainConfig)
    return CodecTask(config, []), CodecBatch(random(2, 3, 5, 32, 32).clamp(-1, 1), ("a", "b"))


def codec_before_its_adversary(device: str, folder: Path) -> tuple[CodecTask, CodecBatch]:
    """With an adversary that has no gradients yet."""
    return codec(device, folder, adversarial_from=1.0)


def transformer(device: str, folder: Path) -> tuple[TransformerTask, Any]:
    """Clips of three shapes, one of them an image, with given frames and noise on them."""
    codec_config = CodecConfig(latent_channels=4, base_width=8)
    with seeded(0):
        save_network(Codec(codec_config), codec_config, folder / "vae")
    shape = {"num_layers": 2, "num_heads": 2, "head_dim": 16, "ffn_width": 64, "in_channels": 4, "out_channels": 4}
    sizes = {"name": "tiny", "height": 32, "width": 32, "num_frames": 5, "num_steps": 2}
    tree = {
        **RUN,
        "device": device,
        "vae": str(folder / "vae"),
        "text_encoder": str(TEXT_ENCODER),
        "recompute_blocks": True,
        "patterns": {"first_frame": 0.5, "beginning": 0.5, "independent": 0.0},
        "transformer": {**shape, "text_width": 384},
        "pipeline": sizes,
    }
    config = parse_config(tree, TransformerTrainConfig)
    texts = [random(3, 384, seed=8).half(), random(7, 384, seed=9).half()]
    shapes: Sequence[tuple[int, ...]] = [(4, 5, 4, 4), (4, 1, 4, 6), (4, 3, 6, 4)]
    clips = [EncodedClip(random(*each, seed=k).half(), texts, 8.0, id=str(k)) for k, each in enumerate(shapes)]
    maker = BatchMaker(clips, random(2, 384, seed=7), config, 4)
    return TransformerTask(config, []), maker.make(range(3), step_generator(0, 0))


def judge(device: str, folder: Path) -> tuple[JudgeTask, JudgeBatch]:
    """Videos of four frames with labels of every kind."""
    shape = {"short_side": 32, "max_frames": 4, "stem_width": 8, "width": 48, "num_heads": 2}
    tree = {**RUN, "device": device, "judge": {**shape, "encoder_layers": 1, "decoder_layers": 1}}
    scene = sample_scene(0)
    clip = Clip("a", folder, 4, 32, 32, 8.0, captions(scene, is_image=False, num_per_language=1), scene.attributes())
    task = JudgeTask(parse_config(tree, JudgeTrainConfig), [clip])
    num_actors = len(scene.actors)
    place = np.full((4, num_actors, 2), 0.3, np.float32)
    track = ActorTrack(np.zeros(4, np.int64), place, np.full((4, num_actors), 0.1, np.float32))
    found = {name: each[None] for name, each in labels(clip.attributes, track, 4, 32, 32, 16).items()}
    words = torch.randint(2, len(task.model.vocabulary), (1, 12), generator=torch.Generator().manual_seed(1))
    seconds = torch.arange(4.0)[None] / 8
    return task, JudgeBatch(random(1, 3, 4, 32, 32), seconds, words, words, found, known_kinds(found), ("a",))


TASKS = pytest.mark.parametrize("make", [codec, codec_before_its_adversary, transformer, judge])


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that ask for a device get the meta device, whose values nobody can check."""
    monkeypatch.setattr("vitascope.train.run.resolve_device", lambda name: META)

    def stack(trainer: Trainer, step: int, losses: Sequence[Loss], norms: Sequence[Tensor], *clips: object) -> None:
        """The part of the check that needs no values."""
        torch.stack([*(loss.total for loss in losses), *norms])

    monkeypatch.setattr(Trainer, "_check_finite", stack)
    for name in ("load_codec", "load_text_encoder"):  # files can't be read to it; the step doesn't use these networks
        loader = getattr(registry, name)
        monkeypatch.setattr(f"vitascope.train.transformer.{name}", lambda folder, device, loader=loader: loader(folder))


@TASKS
def test_a_step_runs_on_one_device(make: Make, on_meta: None, tmp_path: Path) -> None:
    """Fails when noise, masks or weights of a loss stay on the CPU. Reading figures needs values: tests marked gpu."""
    task, batch = make("auto", tmp_path)
    trainer = Trainer(task)
    with OneDevice(META, others=True) as guard:
        trainer.update(0, [(batch, step_generator(0, 0))])
    assert guard.num_checked > 500
    assert {parameter.device for parameter in trainer.trained.parameters()} == {META}
    assert all(entry["momentum"].device == META for entry in trainer.optimizers[0].state.values())


def test_a_tensor_left_on_the_cpu_is_seen(on_meta: None, tmp_path: Path) -> None:
    task, batch = judge("auto", tmp_path)
    task.word_weights = torch.ones(len(task.model.vocabulary), device=CPU)
    with pytest.raises(MixedDevicesError), OneDevice(META, others=True):
        Trainer(task).update(0, [(batch, step_generator(0, 0))])


@pytest.mark.gpu
@TASKS
def test_a_step_on_cuda_equals_one_on_the_cpu(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In float32, without the shorter numbers (TF32) that convolutions may take."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    figures, gradients, weights = [], [], []
    for device in ("cpu", "cuda"):
        task, batch = make(device, tmp_path / device)
        trainer = Trainer(task)
        figures.append(trainer.update(0, [(batch, step_generator(0, 0))])())
        parameters = [p for p in trainer.trained.parameters() if p.grad is not None]
        gradients.append(torch.cat([p.grad.flatten().to(CPU) for p in parameters]))
        weights.append(torch.cat([p.detach().flatten().to(CPU) for p in parameters]))
    clocked = {name for name in figures[0] if name.endswith("/s")} | {"seconds", "data wait"}
    for name in figures[0].keys() - clocked:
        assert figures[1][name] == pytest.approx(figures[0][name], rel=1e-3, abs=1e-5), name
    assert (gradients[1] - gradients[0]).norm() < 1e-3 * gradients[0].norm()
    assert (weights[1] - weights[0]).norm() < 1e-3 * weights[0].norm()


@pytest.mark.gpu
@TASKS
def test_a_step_on_cuda_mixes_no_devices_in_bfloat16(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With values, figures and the guard on CUDA itself."""
    monkeypatch.setitem(RUN, "precision", "bfloat16")
    task, batch = make("cuda", tmp_path)
    trainer = Trainer(task)
    with OneDevice(torch.device("cuda"), others=True):
        figures = trainer.update(0, [(batch, step_generator(0, 0))])
    assert all(np.isfinite(value) for value in figures().values())
