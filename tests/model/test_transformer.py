"""The transformer: packing changes nothing, text caches change nothing, every input counts, and it can learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import Unsupported
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode

from tests.devices import MixedDevicesError, OneDevice
from vitascope.config import parse_config
from vitascope.errors import ConfigError
from vitascope.kernels.device import META, resolve_device
from vitascope.model.canvas import Pin, Shot, given_frames, make_canvas
from vitascope.model.diffusion import add_noise, velocity_loss
from vitascope.model.patches import Sample, TextRun, make_sample, pack, token_group, unpack
from vitascope.model.transformer import Attention, Transformer, TransformerConfig, sinusoids

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, num_layers=2, num_heads=2, head_dim=16, ffn_width=64, text_width=12
)
GPU_CONFIG = CONFIG.model_copy(update={"head_dim": 32})  # heads that every GPU kernel takes


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample(frames: int, rows: int, columns: int, *, sigmas: list[float], text: int = 3, seed: int = 0) -> Sample:
    group = token_group(random(4, frames, rows, columns, seed=seed), fps=16, reference_fps=16)
    return make_sample([group], torch.tensor(sigmas), random(text, 12, seed=seed + 100))


SAMPLES = [
    sample(2, 4, 4, sigmas=[0.3, 0.9], text=3, seed=1),
    sample(2, 4, 4, sigmas=[0.0, 0.9], text=3, seed=2),
    sample(1, 2, 6, sigmas=[0.5], text=5, seed=3),
    sample(3, 4, 2, sigmas=[0.0, 0.4, 0.4], text=1, seed=4),
]


def transformer(config: TransformerConfig = CONFIG, seed: int = 0) -> Transformer:
    """Random in all its parts: a fresh one answers zero, which would pass most tests."""
    generator = torch.Generator().manual_seed(seed)
    network = Transformer(config, generator)
    torch.nn.init.normal_(network.proj_out.weight, std=0.2, generator=generator)
    return network


@pytest.mark.parametrize("cross_attention_norm", [True, False])
def test_packed_is_one_sample_at_a_time(cross_attention_norm):
    network = transformer(CONFIG.model_copy(update={"cross_attention_norm": cross_attention_norm}))
    packed = pack(SAMPLES)
    for together, one in zip(unpack(network(packed), packed.lengths), SAMPLES, strict=True):
        torch.testing.assert_close(together, network(pack([one])), rtol=0, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch():
    """The packed gradient is the sum of the single samples' gradients."""
    network = transformer()
    first = unpack(network(pack(SAMPLES)), pack(SAMPLES).lengths)[0]
    others = [replace(one, tokens=one.tokens + 50, context=one.context - 9) for one in reversed(SAMPLES[1:])]
    mixed = pack([*others, SAMPLES[0]])
    torch.testing.assert_close(unpack(network(mixed), mixed.lengths)[-1], first, rtol=0, atol=1e-5)

    def gradients(packs: list[list[Sample]]) -> list[Tensor]:
        loss = sum(network(pack(samples)).square().sum() for samples in packs)
        return list(torch.autograd.grad(loss, list(network.parameters())))

    for together, apart in zip(gradients([SAMPLES]), gradients([[one] for one in SAMPLES]), strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3)


def test_spreading_modulation_over_runs_changes_nothing():
    network, packed = transformer(), pack(SAMPLES)
    coarse = pack([SAMPLES[0]])
    assert coarse.noise_run == 4
    torch.testing.assert_close(network(coarse), network(replace(coarse, noise_run=1)), rtol=0, atol=1e-6)
    torch.testing.assert_close(network(packed), network(replace(packed, noise_run=1)), rtol=0, atol=1e-6)


def test_the_order_of_tokens_is_only_in_their_positions():
    network, one = transformer(), SAMPLES[0]
    order = torch.randperm(8, generator=torch.Generator().manual_seed(5))
    shuffled = replace(
        one, tokens=one.tokens[order], positions=one.positions[order], frame_index=one.frame_index[order]
    )
    torch.testing.assert_close(network(pack([shuffled])), network(pack([one]))[order], rtol=0, atol=1e-5)
    unmoved = replace(shuffled, positions=one.positions)
    assert (network(pack([unmoved])) - network(pack([one]))[order]).abs().max() > 1e-3


def told(texts: list[Tensor], num_tokens: list[int]) -> Sample:
    """A sample whose runs of tokens have one text each."""
    group = token_group(random(4, 3, 4, 4), fps=16, reference_fps=16)
    runs = [TextRun(count, len(text)) for count, text in zip(num_tokens, texts, strict=True)]
    return make_sample([group], torch.tensor([0.9] * 3), torch.cat(texts), runs)


def test_a_text_reaches_its_own_tokens_alone():
    """With one block; what a second does with other tokens is self-attention's. Fails when runs are ignored."""
    network = transformer(CONFIG.model_copy(update={"num_layers": 1}))
    first, second, other = (random(length, 12, seed=length) for length in (5, 3, 4))
    before, after = (network(pack([SAMPLES[0], told([first, text], [4, 8])])) for text in (second, other))
    difference = (after - before).abs().amax(dim=1)[-12:]
    assert difference[:4].max() < 1e-6
    assert difference[4:].min() > 1e-4


def test_the_same_text_told_twice_is_one_text():
    network, text = transformer(), random(5, 12, seed=5)
    one, two = (network(pack([told([text] * len(counts), counts)])) for counts in ([12], [4, 8]))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_equal_text_tokens_may_be_one_that_counts_for_them():
    """Also beside a sample whose text counts as it stands."""
    network, group = transformer(), token_group(random(4, 1, 4, 4), fps=16, reference_fps=16)
    text = torch.cat([random(3, 12, seed=5), torch.zeros(50, 12)])
    states, counts = torch.unique_consecutive(text, dim=0, return_counts=True)
    whole, counted = (
        make_sample([group], torch.tensor([0.9]), context, context_counts=count)
        for context, count in ((text, None), (states, counts))
    )
    packed = pack([SAMPLES[0], counted])
    assert packed.context_lengths[-1] == 4
    torch.testing.assert_close(network(packed), network(pack([SAMPLES[0], whole])), rtol=0, atol=1e-5)


def test_runs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="don't fit 12 tokens and 5 text tokens"):
        told([random(5, 12)], [11])


def test_moving_the_whole_video_in_time_changes_nothing():
    network, one = transformer(), SAMPLES[0]
    later = replace(one, positions=one.positions + torch.tensor([11.25, 0, 0]))
    torch.testing.assert_close(network(pack([later])), network(pack([one])), rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", ["tokens", "sigmas", "context", "frame_index"])
def test_every_part_of_a_sample_counts(part):
    network, one = transformer(), SAMPLES[0]
    change = {
        "tokens": one.tokens + 0.5,
        "sigmas": one.sigmas * 0.5,
        "context": one.context.flip(-1),
        "frame_index": 1 - one.frame_index,
    }
    changed = network(pack([replace(one, **{part: change[part]})]))
    assert (changed - network(pack([one]))).abs().max() > 1e-3


def test_a_frame_knows_its_own_noise_level():
    """Swapping the levels of two frames is not the same as keeping them: fails if one level per sample is used."""
    network, given = transformer(), SAMPLES[1]
    swapped = replace(given, sigmas=given.sigmas.flip(0))
    assert (network(pack([given])) - network(pack([swapped]))).abs().max() > 1e-3
    same = replace(given, sigmas=torch.full((2,), 0.9))
    assert (network(pack([given]))[4:] - network(pack([same]))[4:]).abs().max() > 1e-5, "given frames are seen as given"


def test_a_pack_prepared_once_serves_every_step():
    network, packed = transformer(), pack(SAMPLES)
    prepared = network.prepare(packed)
    assert torch.equal(network(packed, prepared), network(packed))
    later = packed.at(random(*packed.tokens.shape, seed=7), 0.55)
    assert torch.equal(network(later, prepared), network(later))
    other = network.prepare(replace(packed, context=packed.context.flip(-1)))
    assert (network(packed, other) - network(packed)).abs().max() > 1e-3, "the prepared text is used"


def test_a_step_computes_nothing_that_the_pack_determines(monkeypatch):
    """Fails if a forward pass computes rotary angles, attention plans or text keys again."""
    network, packed = transformer(), pack(SAMPLES)
    prepared = network.prepare(packed)
    for name in ("rotary_table", "plan_attention"):
        monkeypatch.setattr(f"vitascope.model.transformer.{name}", None)
    monkeypatch.setattr(network, "text_mlp", None)
    network(packed, prepared)


def compiling(test: Callable[..., None]) -> Callable[..., None]:
    """Marks of a test that compiles."""
    for warning in (
        "ignore:The .grad attribute of a Tensor that is not a leaf",  # Dynamo reads it
        "ignore:<class 'torch.autograd.function.Function'> should not be instantiated",  # Dynamo does that
    ):
        test = pytest.mark.filterwarnings(warning)(test)
    return pytest.mark.usefixtures("compiler")(test)


@pytest.fixture
def compiler() -> Iterator[None]:
    """A compiler without earlier graphs, and no shape checks: Dynamo can't trace those."""
    torch._dynamo.reset()
    counters.clear()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    torch._dynamo.reset()


@compiling
def test_compiled_blocks_have_no_graph_breaks_and_equal_results():
    """Predictions and gradients, for packs of other lengths too, without a compilation for each."""
    counted = [replace(one, context_counts=torch.arange(1, 1 + len(one.context))) for one in SAMPLES]
    packs = [pack(counted * copies) for copies in range(1, 4)]
    network, compiled = transformer(), transformer()
    compiled.compile_blocks("eager")
    assert list(compiled.state_dict()) == list(network.state_dict())
    with torch.inference_mode():
        for packed in packs:
            torch.testing.assert_close(compiled(packed), network(packed), rtol=1e-5, atol=1e-5)
    num_graphs = counters["stats"]["unique_graphs"]
    assert num_graphs == 1, "one graph serves all lengths and both blocks"
    expected, found = (
        torch.autograd.grad(each(packs[2]).square().sum(), list(each.parameters())) for each in (network, compiled)
    )
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
    for packed in packs[:2]:
        compiled(packed).square().sum().backward()
    assert counters["stats"]["unique_graphs"] == num_graphs + 1, "one more serves all training steps"


@compiling
def test_blocks_compile_with_recomputation():
    config = CONFIG.model_copy(update={"num_layers": 1})
    network, compiled = transformer(config), transformer(config)
    compiled.compile_blocks("eager")
    compiled.recompute_blocks = True
    expected, found = (
        torch.autograd.grad(each(pack(SAMPLES)).square().sum(), list(each.parameters())) for each in (network, compiled)
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@compiling
def test_a_graph_break_in_a_block_is_an_error(monkeypatch):
    network = transformer()
    network.compile_blocks("eager")
    original = Attention.queries

    def queries(attention: Attention, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return original(attention, x)

    monkeypatch.setattr(Attention, "queries", queries)
    with pytest.raises(Unsupported):
        network(pack(SAMPLES))


def train_on(device: torch.device) -> Tensor:
    """The loss of one step on a device: canvas, pack, noise and network, as training does it."""
    grid = random(4, 3, 4, 4).to(device)
    mask = given_frames(grid, [0])
    place = {"fps": 8, "reference_fps": 8, "patch": (1, 2, 2), "time_stride": 4}
    pins = [Pin(random(4, 1, 4, 4).to(device), -8)]
    canvas = make_canvas(grid, mask, pins, shots=[Shot(), Shot(2, is_cut=True)], generated_mask=mask, **place)
    texts = [random(length, 12, seed=length).to(device) for length in (3, 5)]
    counts = [None, torch.tensor([1, 30, 1, 1, 2])]
    noise = random(*canvas.clean.shape, seed=9).to(device)
    sigmas = torch.full((canvas.num_frames,), 0.7)
    packed = pack([canvas.noised(canvas.clean, sigmas, texts, 0.1, counts), SAMPLES[1].to(device)])
    network = transformer().to(device)
    clean = torch.cat([canvas.clean, SAMPLES[1].tokens.to(device)])
    noise = torch.cat([noise, noise[: len(SAMPLES[1].tokens)]])
    noisy = packed.at(add_noise(clean, noise, packed.token_sigmas), 0.7)
    loss = velocity_loss(network(noisy), clean, noise, packed.token_sigmas, "clean", packed.token_sigmas > 0.1).mean
    loss.backward()
    assert all(p.grad is not None and p.grad.device.type == device.type for p in network.parameters())
    return loss


def test_planning_and_a_training_step_never_mix_devices():
    with OneDevice(META, others=True) as guard:
        assert train_on(META).is_meta
    assert guard.num_checked > 500


@pytest.mark.parametrize("sabotaged", ["sinusoids", "rotary_table"])
def test_a_tensor_without_a_device_is_found(sabotaged, monkeypatch):
    """The guard's own test: a table made on the CPU and used on the device."""

    def forgetful(x: Tensor, width: int) -> Tensor:
        return torch.zeros(len(x), width)

    def unmoved(positions: Tensor, head_dim: int) -> Tensor:
        class Unmoved(Tensor):
            def to(self, *_: object) -> Tensor:  # the move is forgotten
                return self.as_subclass(Tensor)

        return torch.zeros(len(positions), head_dim // 2, 2).as_subclass(Unmoved)

    replacement = forgetful if sabotaged == "sinusoids" else unmoved
    monkeypatch.setattr(f"vitascope.model.transformer.{sabotaged}", replacement)
    with pytest.raises(MixedDevicesError, match="cpu, meta"), OneDevice(META, others=True):
        train_on(META)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_a_gpu_predicts_what_the_cpu_does(dtype, tolerance):
    """Relative to the largest value: 1e-3 in float32, 5e-2 in bfloat16, whose numbers have 8 bits."""
    network, packed = transformer(GPU_CONFIG), pack(SAMPLES)
    expected = network(packed)
    device = resolve_device("cuda")
    found = network.to(device, dtype)(packed.to(device, dtype)).float().to(expected.device)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.gpu
def test_a_gpu_takes_the_training_step_that_the_cpu_does():
    loss, expected = train_on(resolve_device("cuda")), train_on(resolve_device("cpu"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.gpu
@compiling
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_compiled_blocks_on_a_gpu_predict_what_the_cpu_does(dtype, tolerance):
    network, packs = transformer(GPU_CONFIG), [pack(SAMPLES), pack(SAMPLES[2:])]
    expected = [network(packed) for packed in packs]
    device = resolve_device("cuda")
    network.to(device, dtype).compile_blocks()
    for packed, result in zip(packs, expected, strict=True):
        found = network(packed.to(device, dtype)).float().to(result.device)
        assert (found - result).abs().max() <= tolerance * result.abs().max()


@pytest.mark.gpu
def test_a_sampling_step_never_waits_for_the_gpu():
    """Fails on any copy from the device or any value read from it."""
    device = resolve_device("cuda")
    network = transformer(GPU_CONFIG).to(device, torch.bfloat16)
    packed = pack(SAMPLES).to(device, torch.bfloat16)
    with torch.inference_mode():
        prepared = network.prepare(packed)
        network(packed, prepared)  # kernels are loaded
        torch.cuda.set_sync_debug_mode("error")
        try:
            later = packed.at(packed.tokens, 0.5)
            network(later, prepared)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_fresh_transformer_answers_zero_and_every_weight_then_gets_a_gradient():
    fresh = Transformer(CONFIG, torch.Generator().manual_seed(0))
    assert fresh(pack(SAMPLES)).abs().max() == 0
    network = transformer()
    network(pack(SAMPLES)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_weights_depend_only_on_the_generator():
    torch.manual_seed(1)
    first = Transformer(CONFIG, torch.Generator().manual_seed(7)).state_dict()
    torch.manual_seed(2)
    second = Transformer(CONFIG, torch.Generator().manual_seed(7)).state_dict()
    other = Transformer(CONFIG, torch.Generator().manual_seed(8)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["patch_in.weight"], other["patch_in.weight"])


def test_recomputing_blocks_gives_the_same_gradients():
    network = transformer()
    expected = torch.autograd.grad(network(pack(SAMPLES)).square().sum(), list(network.parameters()))
    network.recompute_blocks = True
    got = torch.autograd.grad(network(pack(SAMPLES)).square().sum(), list(network.parameters()))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("prediction", ["clean", "velocity"])
def test_one_batch_can_be_learned_by_heart(prediction):
    """Learning through the whole path: noise, network, loss on the made frames, gradient."""
    network = Transformer(CONFIG, torch.Generator().manual_seed(0))
    packed = pack(SAMPLES)
    clean, noise, sigma = packed.tokens, random(*packed.tokens.shape, seed=9), packed.token_sigmas
    noisy = replace(packed, tokens=add_noise(clean, noise, sigma))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0)
    losses = []
    for _ in range(200):  # 30 do
        loss = velocity_loss(network(noisy), clean, noise, sigma, prediction, sigma > 0).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.02 * losses[0]:
            break
    assert losses[-1] < 0.02 * losses[0], f"{losses[0]:.3f} -> {losses[-1]:.3f}"


def test_half_precision_runs_close_to_full():
    network, packed = transformer(), pack(SAMPLES)
    full = network(packed)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(packed)
    torch.testing.assert_close(mixed.float(), full, rtol=0.1, atol=0.1)
    half = network.bfloat16()(packed.to("cpu", torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)


def test_sinusoids_are_cosines_then_sines():
    time = torch.tensor([0.0, 1.0, 637.0])
    waves = sinusoids(time, 8)
    frequencies = torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(waves[:, :4], torch.cos(time[:, None] * frequencies), rtol=0, atol=1e-4)
    torch.testing.assert_close(waves[:, 4:], torch.sin(time[:, None] * frequencies), rtol=0, atol=1e-4)


@pytest.mark.parametrize("text_cached", [False, True])
def test_counted_flops_are_those_of_the_matrix_multiplications(text_cached, monkeypatch):
    """Against torch's own counter, by products that it sees: neither the CPU's fused attention nor oneDNN's."""
    network, packed = transformer(), pack(SAMPLES)
    monkeypatch.setattr("vitascope.kernels.linear.has_onednn", lambda: False)
    monkeypatch.setattr("vitascope.kernels.segments.FEW_KEYS", 1 << 20)
    with torch.no_grad():
        cache = network.prepare(packed) if text_cached else None
        with FlopCounterMode(display=False) as counter:
            network(packed, cache)
    counted = sum(count for op, count in counter.get_flop_counts()["Global"].items() if "mm" in str(op))
    assert network.num_flops(packed, text_cached=text_cached) == counted


@pytest.mark.parametrize("change", [{"head_dim": 15}, {"patch": [1, 0, 2]}, {"num_layer": 3}, {"prediction": "noise"}])
def test_a_config_that_makes_no_sense_is_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        parse_config({**CONFIG.model_dump(), **change}, TransformerConfig)
