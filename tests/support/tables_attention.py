"""Rows of attention in all its operators, and of rotary embeddings."""

from __future__ import annotations

import numpy as np
from decompositions import Row, Run, ints, long

S, T, P, D = (2, 3, 8), (2, 5, 8), (2, 2, 3, 4), [8, 24]
HEADS = {"num_heads": 2}
PADDING = ints([1, 1, 0], [1, 1, 1])
CUBE = Run(np.random.default_rng(1).integers(0, 2, (2, 3, 3), np.int32))
ATTENTIONS = [
    Row("Attention", [S, D, [24]], HEADS),
    Row("Attention", [S, D, [24]], {**HEADS, "scale": 0.7, "unidirectional": 1}),
    Row("Attention", [S, [8, 28], [28]], {**HEADS, "qkv_hidden_sizes": [8, 8, 12]}),
    Row("Attention", [S, D, [24], PADDING], HEADS, label="mask"),
    Row("Attention", [S, D, [24], PADDING], {**HEADS, "unidirectional": 1}, label="mask"),
    Row("Attention", [S, D, [24], ints([0, 0, 1], [0, 1, 1])],
        {**HEADS, "unidirectional": 1, "mask_filter_value": -5.0}, label="left"),
    Row("Attention", [S, D, [24], CUBE], HEADS, label="mask of queries"),
    Row("Attention", [S, D, [24], CUBE], {**HEADS, "unidirectional": 1}, label="mask of queries"),
    Row("Attention", [S, D, [24], ints(2, 3)], HEADS, label="lengths", symbolic=()),
    Row("Attention", [S, D, [24], ints(2, 3, 1, 0)], HEADS, label="spans", symbolic=()),
    Row("Attention", [S, D, [24], ints(2, 3, 1, 0)], HEADS, label="spans, sizes unknown"),
    Row("Attention", [S, D, [24], None, None, [2, 2, 3, 3]], HEADS, label="bias"),
    Row("Attention", [S, D, [24], None, None, (1, 1, 3, 3)], HEADS, label="bias", symbolic=()),
    Row("Attention", [S, D, [24], PADDING, None, [1, 2, 3, 3]], HEADS, label="mask, bias"),
    Row("Attention", [S, D, [24], None, (2, *P)], {**HEADS, "unidirectional": 1},
        ("y", "present"), label="past"),
    Row("Attention", [S, D, [24], ints([1] * 6, [0, 1, 1, 1, 1, 0]), (2, *P)], HEADS,
        ("y", "present"), label="past, mask"),
    Row("MultiHeadAttention", [S, T, T], HEADS),
    Row("MultiHeadAttention", [S, T, (2, 5, 12)], HEADS, label="wide values"),
    Row("MultiHeadAttention", [S, T, T, [24]], {**HEADS, "scale": 0.3}, label="biases"),
    Row("MultiHeadAttention", [S, P, P], HEADS, label="heads apart", symbolic=()),
    Row("MultiHeadAttention", [S, T, T, None, ints([1] * 5, [1, 1, 1, 0, 0])], HEADS,
        label="mask"),
    Row("MultiHeadAttention", [S, T, T, None, ints(4, 2)], HEADS, label="lengths",
        symbolic=()),
    Row("MultiHeadAttention", [S, S, S, None, CUBE], HEADS, label="mask of queries"),
    Row("MultiHeadAttention", [S, S, S, None, CUBE], {**HEADS, "unidirectional": 1},
        label="mask of queries"),
    Row("MultiHeadAttention", [S, S, S], {**HEADS, "unidirectional": 1}),
    Row("MultiHeadAttention", [S, T, T, None, None, [2, 2, 3, 5]], HEADS, label="bias"),
    Row("MultiHeadAttention", [S, T, T, None, None, (1, 1, 3, 5)], HEADS, label="bias",
        symbolic=()),
    Row("MultiHeadAttention", [S, T, T, None, None, None, P, P], HEADS, ("y", "key", "value"),
        label="past"),
    Row("MultiHeadAttention", [S, S, S, [24], None, [1, 2, 3, 6], P, P],
        {**HEADS, "unidirectional": 1}, ("y", "key", "value"), label="past"),
    Row("MultiHeadAttention", [S, T, T], HEADS, ("y", "", "", "scores")),
]  # fmt: skip

C, OFFSET = [10, 2], ints(3)
TURNING = {"num_heads": 2, "rotary_embedding_dim": 4}
WIDE = ints([0, 1, 2], [3, 1, 4])
ROTARY = [
    Row("RotaryEmbedding", [S, long(WIDE), C, C], label="ids"),
    Row("RotaryEmbedding", [S, long(OFFSET), C, C], label="offset"),
    Row("RotaryEmbedding", [S, long(OFFSET), C, C], {"interleaved": 1}, label="offset"),
    Row("RotaryEmbedding", [(2, 2, 3, 4), long(WIDE), C, C], {"interleaved": 1}, label="heads"),
    Row("RotaryEmbedding", [(2, 3, 12), long(WIDE), C, C], TURNING, label="part"),
]  # fmt: skip

Q, G, GP, R = (2, 3, 32), (2, 3, 16), (2, 1, 4, 16), [10, 8]
GROUPED = {"num_heads": 2, "kv_num_heads": 1}
NEW, ROTATED = [ints(2, 1), Run(np.array([3], np.int32))], {"do_rotary": 1}
STEP = [ints(3, 4), Run(np.array([5], np.int32))]
ONE, LONE = (2, 1, 32), (2, 1, 16)
CACHED = ("y", "key", "value")
GROUPS = [
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW], GROUPED, CACHED),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW], {**GROUPED, "softcap": 2.0}, CACHED),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW], {**GROUPED, "local_window_size": 1},
        CACHED),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW], {**GROUPED, "scale": 0.3}, CACHED),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW, R, R], {**GROUPED, **ROTATED}, CACHED),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW, R, R],
        {**GROUPED, **ROTATED, "rotary_interleaved": 1}, CACHED),
    Row("GroupQueryAttention", [(2, 3, 64), None, None, None, None, *NEW, R, R],
        {**GROUPED, **ROTATED}, CACHED, label="packed"),
    Row("GroupQueryAttention", [ONE, LONE, LONE, GP, GP, *STEP], GROUPED, CACHED, label="past",
        symbolic=()),
    Row("GroupQueryAttention", [ONE, LONE, LONE, GP, GP, *STEP, R, R], {**GROUPED, **ROTATED},
        CACHED, label="past", symbolic=()),
    Row("GroupQueryAttention", [Q, G, G, GP, GP, *NEW], GROUPED, CACHED, label="first prompt",
        symbolic=()),
    Row("GroupQueryAttention", [(1, 3, 32), (1, 3, 16), (1, 3, 16), (1, 1, 4, 16), (1, 1, 4, 16),
         ints(6), Run(np.array([7], np.int32))], {**GROUPED, "local_window_size": 2}, CACHED,
        label="past", symbolic=()),
    Row("GroupQueryAttention", [Q, G, G, None, None, *NEW, None, None, None, [1, 2, 3, 3]], GROUPED,
        CACHED, label="bias"),
    Row("GroupQueryAttention", [ONE, LONE, LONE, GP, GP, *STEP, R, R,
                                long(ints([3], [4]))],
        {**GROUPED, **ROTATED}, CACHED, label="past, ids", symbolic=()),
]  # fmt: skip

STANDARD = {"domain": "", "opset": 24}
FOUR, FIVE, SHARED = (2, 2, 3, 4), (2, 2, 5, 4), (2, 1, 5, 4)
FLAT = {"q_num_heads": 2, "kv_num_heads": 2}
SEEN = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
SHORT = np.array([[1, 0, 1], [1, 1, 0], [1, 1, 1]], bool)
HIDDEN = np.where(SEEN, 0.5, -np.inf).astype(np.float32)
ALL = ("y", "key", "value", "scores")
BY_HEAD = {"symbolic": (0, 2)}
SCALED = [
    Row("Attention", [FOUR, FIVE, FIVE], **STANDARD, **BY_HEAD, label="standard"),
    Row("Attention", [FOUR, FIVE, FIVE], {"scale": 0.3, "softcap": 1.5}, **STANDARD, **BY_HEAD),
    Row("Attention", [FOUR, FIVE, FIVE], {"is_causal": 1}, **STANDARD, **BY_HEAD),
    Row("Attention", [FOUR, SHARED, SHARED], **STANDARD, **BY_HEAD, label="groups"),
    Row("Attention", [S, T, T], FLAT, **STANDARD, label="flat"),
    Row("Attention", [S, (2, 5, 4), (2, 5, 4)], {**FLAT, "kv_num_heads": 1}, **STANDARD),
    Row("Attention", [FOUR, FIVE, FIVE, SEEN], domain="", opset=23, label="mask", **BY_HEAD),
    Row("Attention", [FOUR, FIVE, FIVE, SEEN], {"is_causal": 1}, **STANDARD, **BY_HEAD,
        label="mask"),
    Row("Attention", [FOUR, FIVE, FIVE, HIDDEN], **STANDARD, **BY_HEAD, label="infinite"),
    Row("Attention", [FOUR, FIVE, FIVE, (2, 1, 3, 5)], **STANDARD, **BY_HEAD, label="additive"),
    Row("Attention", [FOUR, FIVE, FIVE, SHORT, None, None, long(ints(3, 2))], **STANDARD, **BY_HEAD,
        label="short"),
    Row("Attention", [FOUR, FIVE, FIVE, None, None, None, long(ints(5, 4))], {"is_causal": 1},
        **STANDARD, **BY_HEAD, label="nonpad"),
    Row("Attention", [FOUR, FOUR, FOUR, None, FIVE, FIVE], {"is_causal": 1},
        CACHED, **STANDARD, label="past", symbolic=()),
    *[Row("Attention", [FOUR, FIVE, FIVE, SEEN],
          {"qk_matmul_output_mode": mode, "softcap": 2.0}, ALL, **STANDARD, **BY_HEAD,
          label="mask")
      for mode in range(4)],
    Row("RotaryEmbedding", [FOUR, C, C, long(WIDE)], domain="", opset=23, symbolic=(0, 2),
        label="standard"),
    Row("RotaryEmbedding", [FOUR, [2, 3, 2], [2, 3, 2]], {"interleaved": 1}, domain="", opset=23),
    Row("RotaryEmbedding", [(2, 3, 12), [10, 2], [10, 2], long(WIDE)], TURNING, domain="",
        opset=23, label="part"),
]  # fmt: skip
