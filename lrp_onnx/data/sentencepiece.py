"""SentencePiece's .model as a tokenizer, where its own pieces tell how models are given their ids.

The file numbers its pieces, and does not say which marks stand around a text.  ALBERT and DeBERTa
have [CLS] and [SEP] among the pieces, XLNet <sep> and <cls>, T5 a </s> and no <s>.  Others shift
the numbers (XLM-R, by one) or do not (Llama) with the same pieces, and are refused.

Source: sentencepiece_model.proto; Kudo, "Subword Regularization", 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrp_onnx.errors import InputError

__all__ = ["read_pieces"]

UNIGRAM = 1
MARKS = (("[CLS]", "[SEP]", "[CLS] $A [SEP]"), ("<sep>", "<cls>", "$A <sep> <cls>"))
"""Two pieces, and where models that have them want them."""


def read_pieces(path: Path) -> Any:
    """The tokenizer. Raises InputError where sentencepiece is not installed, ValueError where the
    file does not say which ids a model has.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise InputError(
            f"tokenizer '{path}': it is read by the package sentencepiece, which is not installed. "
            "Install it: pip install 'lrp-onnx[text]'."
        ) from error
    proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    pieces, trained = [piece.piece for piece in proto.pieces], proto.trainer_spec
    if trained.model_type != UNIGRAM:
        raise ValueError("SentencePiece pairs bytes in it, and only its unigrams are read")
    template = _template(pieces, trained.bos_id)
    if not template:
        raise ValueError("SentencePiece does not say which ids a model has for its pieces")
    return _tokenizer(proto, pieces, template)


def _template(pieces: list[str], first: int) -> str:
    """Where marks stand around a text; empty where the pieces do not tell.

    first: the number of the piece <s>, below 0 where there is none.
    """
    for one, other, template in MARKS:
        if one in pieces and other in pieces:
            return template
    return "$A </s>" if first < 0 and "</s>" in pieces else ""


def _tokenizer(proto: Any, pieces: list[str], template: str) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    scores = [(piece.piece, piece.score) for piece in proto.pieces]
    unknown = proto.trainer_spec.unk_id
    tokenizer = Tokenizer(models.Unigram(scores, unknown, proto.trainer_spec.byte_fallback))
    table = proto.normalizer_spec.precompiled_charsmap
    steps: list[Any] = [normalizers.Precompiled(table)] if table else []
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = [mark for mark in template.split() if mark != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(mark, pieces.index(mark)) for mark in marks]
    )
    return tokenizer
