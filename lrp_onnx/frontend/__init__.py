"""A file becomes the canonical view: one opset, known operators, concepts instead of spellings."""
