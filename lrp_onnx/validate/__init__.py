"""Is a compiled model right, is its explanation faithful, and what does it cost?

- verify; bench: timing, peak_memory
- evaluate: the stages of a comparison on the user's samples; question: what is compared, and how
- original: the model and what is explained of it; score: what is watched; batches: how samples run
- candidate: an explanation that is compared; references: maps that know nothing of the model
- flipping: the most and the least relevant units first; units: what is replaced; replacement: by
  what; perturbed: all of it for a question
- other_class, randomization (re-drawn weights), map_statistics (complexity, rank correlation)
- evaluation: what was found, and what to conclude; tune: a composite for the samples
"""
