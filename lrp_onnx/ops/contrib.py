"""ONNX Runtime's contrib operators that have no expansion, and why.

Those that have one are in `expand`; what is quantized stands with the quantized operators.
Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from lrp_onnx.ops.registry import never_propagates, no_relevance

__all__: list[str] = []

MICROSOFT = "com.microsoft"

HASHES = ("MurmurHash3", "NGramHashMapping", "VarlenNGramHashMapping")
no_relevance(["IsAllFinite", "BifurcationDetector", "Range", *HASHES], domain=MICROSOFT)

LAYOUT = (
    "the file was saved by a runtime's optimizer, for one machine's memory layout. Give the model "
    "that it was made from"
)
REFUSED = {
    LAYOUT: ("NhwcConv", "NhwcFusedConv", "NhwcMaxPool"),
    "it holds a part compiled for one device. Give the model that it was made from": (
        *("EPContext", "Snpe"),
    ),
    "it generates text in a loop of its own. Export the decoder's single step": (
        *("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch", "NGramRepeatBlock"),
    ),
    "it works on strings, which have no relevance": ("Tokenizer",),
    "it reads a cache written in place. Export the model for a whole sequence, without a cache": (
        *("DecoderAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention"),
        *("PagedAttention", "SparsePagedAttention", "SparseAttention", "DynamicSparseAttention"),
        *("SparseAttentionIndexer", "PackedSparseAttentionIndexer"),
    ),
    "it takes sequences packed without padding. Export the model for a padded batch": (
        *("PackedAttention", "PackedMultiHeadAttention", "RemovePadding", "RestorePadding"),
        *("VarlenCausalConvWithState",),
    ),
    "its numbers are packed for one device, or are no floats. Export the model before it was "
    "quantized": (
        *("DequantizeBFP", "QuantizeBFP", "DequantizeWithOrder", "QuantizeWithOrder"),
        *("GemmFloat8", "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight"),
        *("MatMulBnb4", "MatMulFpQ4", "MatMulInteger16", "MatMulNBitsMlp", "MatMulNBitsQkv"),
        *("MulInteger", "QOrderedGelu", "QOrderedMatMul", "ReduceSumInteger"),
    ),
    "it is for training. Export the model for inference": ("BitmaskBiasDropout", "BitmaskDropout"),
    "it has no expansion into standard operators. Export the model to "
    "those, without the runtime's optimizer": (
        *("AttnLSTM", "CausalConvWithState", "ComplexMul", "ComplexMulConj", "CropAndResize"),
        *("DynamicTimeWarping", "EngramGate", "GatedDeltaNet", "GemmaRotaryEmbedding"),
        *("GatedRelativePositionBias", "HyperConnectionPostMix", "Inverse", "Irfft"),
        *("HyperConnectionPreMix", "LinearAttention", "LongformerAttention"),
        *("MRotaryEmbedding", "MaxpoolWithMask", "MoE", "RelativePositionBias", "Rfft", "SampleOp"),
        *("SparseToDenseMatMul", "Unique", "WordConvEmbedding"),
    ),
}

for reason, names in REFUSED.items():
    never_propagates(names, reason, MICROSOFT)

BLOCKED = ["Conv", "MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "Upsample",
           "ReorderInput", "ReorderOutput"]  # fmt: skip
never_propagates(BLOCKED, LAYOUT, "com.microsoft.nchwc")
