"""Rows of linear operators, shared by the oracle's own tests and the operator × rule table."""

from models import Case

BIASED = Case("Conv", x=(1, 2, 6, 5), w=(3, 2, 3, 2), b=(3,), symbolic=(0,))
STRIDED = Case("Conv", {"strides": [2, 2], "pads": [1, 0, 1, 1]}, x=(1, 2, 6, 5), w=(3, 2, 3, 2))
DEPTHWISE = Case("Conv", {"group": 3, "pads": [1, 1, 1, 1]}, x=(2, 3, 3, 3), w=(3, 1, 3, 3), b=(3,))
CUT = Case(
    "ConvTranspose",
    {"strides": [2, 2], "pads": [1, 0, 0, 2]},
    x=(1, 2, 3, 3),
    w=(2, 2, 3, 3),
    b=(2,),
)
GROUPED = Case("ConvTranspose", {"group": 2}, x=(1, 2, 3, 3), w=(2, 1, 2, 2), b=(2,))
DENSE_LAYER = Case("Gemm", x=(2, 4), w=(4, 3), b=(3,), symbolic=(0,))
SCALED = Case("Gemm", {"alpha": 0.5, "beta": 2.0, "transB": 1}, x=(2, 4), w=(3, 4), b=(3,))
NEGATED = Case("Gemm", {"alpha": -0.7, "beta": -1.5}, x=(2, 4), w=(4, 3), b=(3,))
SEQUENCE = Case("MatMul", x=(2, 3, 4), w=(4, 2), b=(2,), symbolic=(0, 1))

CONV = [
    BIASED,
    Case("Conv", x=(2, 2, 7), w=(3, 2, 3), b=(3,)),
    Case("Conv", x=(1, 2, 3, 4, 3), w=(2, 2, 2, 2, 2), b=(2,)),
    STRIDED,
    Case("Conv", {"strides": [3, 2]},
         x=(1, 1, 6, 6), w=(2, 1, 2, 3), b=(2,)),  # last row, column unread
    Case("Conv", {"dilations": [2, 1]}, x=(1, 2, 6, 4), w=(2, 2, 2, 2), b=(2,)),
    Case("Conv", {"dilations": [2], "strides": [3], "pads": [2, 1]},
         x=(1, 2, 8), w=(2, 2, 3), b=(2,)),
    Case("Conv", {"group": 2}, x=(1, 4, 4, 3), w=(6, 2, 2, 2), b=(6,)),
    DEPTHWISE,
    Case("Conv", {"group": 2, "strides": [2, 2]}, x=(1, 2, 5, 5), w=(4, 1, 3, 3), b=(4,)),
    Case("Conv", {"pads": [0, 2, 1, 0]}, x=(1, 2, 4, 3), w=(2, 2, 2, 3), b=(2,)),
    Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
         x=(1, 2, 5, 4), w=(2, 2, 3, 3), b=(2,)),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
         x=(1, 2, 6, 3), w=(2, 2, 3, 2), b=(2,)),
    Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, x=(1, 2, 6, 5), w=(2, 2, 1, 1)),
    Case("Conv", {"auto_pad": "VALID", "strides": [2, 2]}, x=(1, 1, 6, 5), w=(2, 1, 3, 3), b=(2,)),
    Case("Conv", x=(1, 3, 2, 2), w=(3, 3, 1, 1), b=(3,)),
    Case("Conv", {"pads": [1, 1, 1, 1]},
         x=(1, 2, 3, 4), w=(2, 2, 3, 3), b=(2,), symbolic=(0, 2, 3)),
    Case("Conv", {"strides": [2, 2], "pads": [1, 1, 1, 1]},
         x=(1, 2, 5, 4), w=(2, 2, 3, 3), symbolic=(0, 2, 3)),
    Case("Conv",
         x=(1, 1, 2, 2), w=[[[[0.0, 0.0], [0.0, 1.5]]]], b=[0.5]),  # weights of zero are connected
]  # fmt: skip

TRANSPOSED = [
    Case("ConvTranspose", x=(1, 2, 3, 3), w=(2, 3, 3, 2), b=(3,), symbolic=(0,)),
    Case("ConvTranspose", {"strides": [2]}, x=(2, 2, 4), w=(2, 2, 3), b=(2,)),
    Case("ConvTranspose", {"strides": [1, 2, 1]}, x=(1, 1, 2, 2, 3), w=(1, 2, 2, 2, 2), b=(2,)),
    Case("ConvTranspose", {"strides": [2, 2], "output_padding": [1, 0]},
         x=(1, 2, 3, 2), w=(2, 2, 3, 3), b=(2,)),
    CUT,
    Case("ConvTranspose", {"group": 2, "strides": [2, 2]}, x=(1, 4, 2, 2), w=(4, 2, 2, 3), b=(4,)),
    GROUPED,
    Case("ConvTranspose", {"dilations": [2, 2], "pads": [1, 1, 1, 1]},
         x=(1, 2, 3, 3), w=(2, 2, 2, 2), b=(2,)),
    Case("ConvTranspose", {"output_shape": [5, 7], "strides": [2, 2]},
         x=(1, 1, 3, 3), w=(1, 2, 2, 3), b=(2,), sized=True),  # its pads depend on the sizes
    Case("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
         x=(1, 1, 3, 2), w=(1, 2, 3, 3), b=(2,)),
    Case("ConvTranspose", {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
         x=(1, 1, 2, 3), w=(1, 2, 3, 3), b=(2,)),
    Case("ConvTranspose", {"auto_pad": "VALID", "strides": [2, 1]},
         x=(1, 1, 2, 3), w=(1, 2, 3, 2), b=(2,)),
]  # fmt: skip

DENSE = [
    DENSE_LAYER,
    Case("Gemm", {"transB": 1}, x=(2, 4), w=(3, 4), b=(3,)),
    Case("Gemm", {"transA": 1}, x=(4, 2), w=(4, 3), b=(1, 3)),
    Case("Gemm", {"transA": 1, "transB": 1}, x=(4, 2), w=(3, 4), b=(2, 1)),
    SCALED,
    NEGATED,
    Case("Gemm", {"beta": 0.0}, x=(2, 4), w=(4, 3), b=(3,)),
    Case("Gemm", {"transB": 1}, x=(3, 4), w=(4, 4)),
    Case("Gemm", x=(2, 4), w=(4, 3), b=()),
    Case("Gemm", {"transB": 1}, x=(2, 4), w=(3, 4), b=(2, 3)),
    Case("MatMul", x=(2, 4), w=(4, 3), symbolic=(0,)),
    Case("MatMul", x=(2, 4), w=(4, 3), b=(3,)),
    SEQUENCE,
    Case("MatMul", x=(2, 1, 3, 4), w=(4, 2), b=(1, 2)),
    Case("MatMul", x=(2, 3, 4), w=(2, 4, 2), b=(2,)),
    Case("MatMul", x=(3, 4), w=(2, 4, 2), b=(2, 1, 2)),  # the weight alone has a batch
    Case("MatMul", x=(2, 1, 3, 4), w=(2, 4, 2)),  # both batches broadcast
    Case("MatMul", w=(3, 4), x=(4, 2)),
    Case("MatMul", w=(3, 4), x=(2, 4, 2), b=(3, 1)),
    Case("MatMul", w=(2, 3, 4), x=(2, 4, 2)),
    Case("MatMul", w=(2, 3, 4), x=(4, 2)),
    Case("MatMul", x=(4,), w=(4, 3), b=(3,)),
    Case("MatMul", x=(2, 4), w=(4,)),
    Case("MatMul", w=(4,), x=(4, 3)),
    Case("MatMul", w=(3, 4), x=(4,)),
]  # fmt: skip

LINEAR = CONV + TRANSPOSED + DENSE
