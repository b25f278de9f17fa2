"""What stands behind the commands of `lrp_onnx.cli`."""
