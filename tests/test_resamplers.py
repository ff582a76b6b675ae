"""The resampler shares what pictures and layers have in common; it computes what is written down."""

import pytest
import torch
from torch import Tensor, nn

from lorgnette.resamplers import PerceiverResampler


def written_down(resampler: PerceiverResampler, patches: Tensor) -> Tensor:
    """Flamingo's appendix A.1.1, layer by layer: keys and values of the normed patches and the normed latents."""
    latents = resampler.latents.expand(len(patches), -1, -1)
    for layer in resampler.layers:
        asking = layer.latents_norm(latents)
        latents = latents + layer.attention(asking, torch.cat([layer.patches_norm(patches), asking], 1))
        latents = latents + layer.ffn(layer.ffn_norm(latents))
    return resampler.norm(latents)


@pytest.mark.parametrize("frozen", [True, False])
def test_resampler_is_what_is_written_down(frozen: bool) -> None:
    torch.manual_seed(0)
    resampler = PerceiverResampler(24, queries=5, depth=3, heads=2, head_width=8)
    for module in resampler.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    patches = (3 * torch.randn(4, 7, 24) + 1).requires_grad_(not frozen)
    wanted = [*resampler.parameters(), *([] if frozen else [patches])]
    told, expected = resampler(patches), written_down(resampler, patches)
    torch.testing.assert_close(told, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(told)
    pairs = zip(*(torch.autograd.grad((x * weight).sum(), wanted) for x in (told, expected)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)


@torch.inference_mode()
def test_a_clip_of_any_length_becomes_as_many_queries_as_a_picture() -> None:
    """At the paper's shapes: eight frames of 14 x 14 patches; patches of a frame in any order."""
    torch.manual_seed(0)
    resampler = PerceiverResampler(24, depth=2, heads=2, head_width=8, frames=8)
    clip = torch.randn(2, 8, 196, 24)
    told = resampler(clip)
    assert told.shape == resampler(clip[:, 0]).shape == (2, 64, 24)
    torch.testing.assert_close(resampler(clip[:, :, torch.randperm(196)]), told, atol=1e-5, rtol=0)
    assert not torch.allclose(resampler(clip.flip(1)), told, atol=1e-3)
