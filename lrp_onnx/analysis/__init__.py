"""Facts of the canonical view: the explanation path, signs, ranges, independent samples."""
