"""Torch's own attention, by backend: the rivals of every attention kernel.

Takes: queries, keys and values in torch's layout. Gives: calls, by name. Does not cover: paged
caches; rivals get the same keys and values dense, which is less work than the kernels do.

A backend that does not take a shape raises RuntimeError; nothing falls back to another.

Shapes: B batch, H query heads, G key heads, T queries, S keys, D width of a head.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

FLASH, CUDNN = "SDPA flash", "SDPA cuDNN"
BACKENDS = {FLASH: SDPBackend.FLASH_ATTENTION, CUDNN: SDPBackend.CUDNN_ATTENTION}

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def attention(name: str, *, causal: bool = False) -> Attend:
    """Return the attention of one backend; a causal mask is aligned bottom-right.

    Args:
        name: `FLASH` or `CUDNN`.
        causal: whether query i sees key j only if j ≤ i + S − T.
    """

    def attend(q_BHTD: torch.Tensor, k_BGSD: torch.Tensor, v_BGSD: torch.Tensor) -> torch.Tensor:
        (H, T), (G, S) = q_BHTD.shape[1:3], k_BGSD.shape[1:3]
        corner = causal_lower_right(T, S) if causal and T != S else None
        with sdpa_kernel(BACKENDS[name]):
            return F.scaled_dot_product_attention(
                q_BHTD,
                k_BGSD,
                v_BGSD,
                attn_mask=corner,
                is_causal=causal and T == S,
                enable_gqa=H != G,
            )

    return attend
