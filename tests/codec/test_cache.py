"""Two chunks at once: the later waits at each layer for the earlier, and results equal those in turn."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest
import torch
from torch import Tensor, nn

from vitascope.codec import streaming
from vitascope.codec.layers import CausalCache
from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.streaming import StreamingDecoder, Tiling, decode_stream, encode_stream

FRAME = torch.zeros(1)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    return Codec(CodecConfig(latent_channels=4, base_width=8)).eval().requires_grad_(False)


def later(seconds: float, work) -> threading.Thread:
    thread = threading.Thread(target=lambda: (time.sleep(seconds), work()))
    thread.start()
    return thread


def test_a_layer_waits_for_its_frames_of_the_previous_chunk():
    layer, other = nn.Identity(), nn.Identity()
    first = CausalCache.after(None)
    second = CausalCache.after(first)
    assert (bool(first), bool(second)) == (False, True)
    first[other] = FRAME
    thread = later(0.05, lambda: first.__setitem__(layer, FRAME + 1))
    assert torch.equal(second.get(layer), FRAME + 1)
    assert torch.equal(second.get(other), FRAME)
    thread.join()


def test_layers_that_a_chunk_does_not_run_keep_earlier_frames():
    """Known when that chunk has ended, not before."""
    kept, missing = nn.Identity(), nn.Identity()
    base = CausalCache()
    base[kept] = FRAME
    first = CausalCache.after(base)
    second = CausalCache.after(first)
    ends = later(0.05, first.end)
    assert torch.equal(second.get(kept), FRAME)
    assert missing not in second
    second.end()
    assert torch.equal(second.get(kept), FRAME)
    ends.join()


def test_an_end_waits_for_the_end_of_the_chunk_before():
    first = CausalCache.after(None)
    second = CausalCache.after(first)
    ended: list[int] = []
    thread = later(0.05, lambda: (ended.append(1), first.end()))
    second.end()
    assert ended == [1]
    thread.join()


@pytest.mark.parametrize("num_chunks", [2, 3, 6])
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(size=4, overlap=2)])
def test_chunks_at_once_equal_chunks_in_turn(codec, two_threads, monkeypatch, num_chunks, tiling):
    """Decoding and encoding; a first chunk of one frame stores fewer frames than later ones need."""
    latent = torch.randn(1, 4, 2 * num_chunks - 1, 6, 4)
    latents = [latent[:, :, :1], *latent[:, :, 1:].split(2, dim=2)]
    names: set[str] = set()

    def coded() -> tuple[Tensor, Tensor]:
        names.clear()
        hook = codec.decoder.register_forward_hook(lambda *_: names.add(threading.current_thread().name))
        with torch.inference_mode():
            pixels = list(decode_stream(codec, latents, tiling))
            found = torch.cat(pixels, 2), torch.cat(list(encode_stream(codec, pixels, tiling)), 2)
        hook.remove()
        return found

    at_once = coded()
    assert names == {"one half_0", "other half_0"}
    monkeypatch.setattr(streaming, "MAX_CELLS_TO_OVERLAP", 0)
    in_turn = coded()
    assert names == {threading.current_thread().name}
    for one, other in zip(at_once, in_turn, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_decoder_goes_on_in_turn_after_chunks_at_once(codec, two_threads):
    latent = torch.randn(1, 4, 7, 4, 4)
    with torch.inference_mode():
        decoder = StreamingDecoder(codec)
        pixels = [*decoder.decode_all(latent[:, :, :6].split(2, dim=2)), decoder.decode(latent[:, :, 6:])]
        torch.testing.assert_close(torch.cat(pixels, 2), codec.decode(latent), rtol=0, atol=1e-5)


def test_the_later_chunk_begins_before_the_earlier_ends(codec, two_threads):
    """Fails when the later chunk waits for a layer that stores nothing."""
    latent = torch.randn(1, 4, 3, 4, 4)  # two frames, and one
    has_begun = threading.Event()
    waited: list[bool] = []

    def begun(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape[2] == 1:
            has_begun.set()

    def last_layer(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape[2] == 5:
            waited.append(has_begun.wait(timeout=30))

    hooks = [
        codec.decoder.middle.register_forward_hook(begun),
        codec.decoder.conv_out.register_forward_pre_hook(last_layer),
    ]
    with torch.inference_mode():
        list(decode_stream(codec, latent.split(2, dim=2)))
    for hook in hooks:
        hook.remove()
    assert waited == [True]


@pytest.mark.parametrize("failing", [2, 1])
def test_an_error_in_a_chunk_is_raised_and_nobody_waits_for_ever(codec, two_threads, failing):
    """The first or the second of two chunks fails; results of earlier chunks are returned first."""
    latent = torch.randn(1, 4, 3, 4, 4)
    given: list[Tensor] = []
    raised: list[str] = []

    def fail(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape[2] == failing:
            raise RuntimeError("out of memory")

    def decode() -> None:
        try:
            with torch.inference_mode():
                given.extend(decode_stream(codec, latent.split(2, dim=2)))
        except RuntimeError as error:
            raised.append(str(error))

    hook = codec.decoder.middle.register_forward_pre_hook(fail)
    running = threading.active_count()
    thread = threading.Thread(target=decode, daemon=True)
    thread.start()
    thread.join(timeout=30)
    hook.remove()
    assert not thread.is_alive()
    assert raised == ["out of memory"]
    assert threading.active_count() == running


def test_a_decoding_that_is_left_leaves_no_thread(codec, two_threads):
    running = threading.active_count()
    with torch.inference_mode():
        pixels = decode_stream(codec, torch.randn(1, 4, 8, 4, 4).split(2, dim=2))
        next(pixels)
        assert threading.active_count() == running + 2
        pixels.close()
    assert threading.active_count() == running


def test_a_chunk_behind_one_that_failed_fails_too():
    """Missing frames are not mistaken for the start of a video."""
    kept, lacking = nn.Identity(), nn.Identity()
    first = CausalCache.after(None)
    second = CausalCache.after(first)
    first[kept] = FRAME
    first.end(failed=True)
    assert torch.equal(second.get(kept), FRAME)
    with pytest.raises(CancelledError):
        second.get(lacking)


def test_a_store_drops_the_frames_of_the_previous_chunk():
    layer = nn.Identity()
    first = CausalCache.after(None)
    second = CausalCache.after(first)
    first[layer] = FRAME
    second[layer] = FRAME + 1
    assert layer not in first._frames
    first.end()
    second.end()
    assert torch.equal(second.get(layer), FRAME + 1)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_stored_frames_are_a_copy(mode):
    """Not a view, which would keep the whole chunk in memory."""
    layer, chunk, cache = nn.Identity(), torch.arange(80.0), CausalCache()
    with mode():
        cache[layer] = chunk[-2:]
        assert cache.get(layer).untyped_storage().nbytes() == 2 * chunk.element_size()
        cache[layer] = chunk[:2]
        assert cache.get(layer).tolist() == [0, 1]
    assert chunk[-2:].tolist() == [78, 79]


@torch.inference_mode()
def test_stored_frames_stay_in_the_same_memory():
    layer, chunk = nn.Identity(), torch.arange(80.0)
    first = CausalCache.after(None)
    first[layer] = chunk[-2:]
    place = first.get(layer)
    second = CausalCache.after(first)
    assert second.get(layer) is place
    second[layer] = chunk[:2]
    assert second.get(layer) is place
    assert place.tolist() == [0, 1]
    assert layer not in first._frames
    second[layer] = chunk[:3]  # of another size
    assert second.get(layer).tolist() == [0, 1, 2]


def test_a_cache_may_leave_inference_mode_and_come_back(codec):
    """Fails when a tensor made in inference mode is overwritten outside it."""
    latent, cache = torch.randn(1, 4, 8, 4, 4), CausalCache()
    modes = [torch.inference_mode, torch.no_grad, torch.inference_mode, torch.enable_grad]
    pixels = []
    for mode, chunk in zip(modes, latent.split(2, dim=2), strict=True):
        with mode():
            pixels.append(codec.decode(chunk, cache))
    torch.testing.assert_close(torch.cat(pixels, 2), codec.decode(latent), rtol=0, atol=1e-5)


def test_frames_that_a_gradient_needs_are_not_overwritten():
    torch.manual_seed(0)
    learning, cache = Codec(CodecConfig(latent_channels=4, base_width=8)), CausalCache()
    latent = torch.randn(1, 4, 4, 4, 4)
    loss = learning.decode(latent[:, :, :2], cache).square().sum()
    with torch.inference_mode():
        learning.decode(latent[:, :, 2:], cache)
    loss.backward()


def test_chunks_in_turn_are_refused_while_others_are_under_way(codec, two_threads):
    decoder, latent = StreamingDecoder(codec), torch.randn(1, 4, 3, 4, 4)
    release = threading.Event()

    def hold(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape[2] == 1:  # the second chunk
            release.wait(timeout=30)

    hook = codec.decoder.middle.register_forward_pre_hook(hold)
    with torch.inference_mode():
        pixels = decoder.decode_all(latent.split(2, dim=2))
        next(pixels)
        with pytest.raises(AssertionError, match="is running"):
            decoder.decode(latent[:, :, :1])
        release.set()
        assert len(list(pixels)) == 1
    hook.remove()
