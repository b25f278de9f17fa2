"""Quantized operators, written as arithmetic on the values that their integers stand for."""
