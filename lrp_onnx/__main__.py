"""`python -m lrp_onnx` is the command `lrp-onnx`."""

import sys

from lrp_onnx.cli.start import run

sys.exit(run())
