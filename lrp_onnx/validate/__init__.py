"""Is the compiled model right, and what does it cost? verify and bench."""
