"""Is a compiled model right, is its explanation faithful, and what does it cost?

- verify; bench: timing, peak_memory
- evaluate: the stages of a comparison on the user's samples; original: the model and what is
  explained of it; score: what is watched; batches: how samples are run
- candidate: an explanation that is compared; references: maps that know nothing of the model
- flipping: units, most and least relevant first; units: what is replaced; replacement: by what
- randomization: re-drawn weights; map_statistics: complexity, rank correlation
- evaluation: what was found, and what to conclude
"""
