"""`python -m lrp_onnx` is the command `lrp-onnx`."""

import sys

from lrp_onnx.cli.main import main

sys.exit(main())
