"""The command line: options and words only.

- main: from arguments to exit status, every error in one paragraph; app: what all commands share
- commands: compile, explain, concepts, inspect; judging: verify, evaluate, bench; listing: rules,
  composites, ops, demo; production: batch, export
- options: those of a compilation; progress: the bar, stages; tables: how all of them print
- inspection, path_drawing: `inspect`; verification, evaluation, benchmark: what these found;
  rule_library: `rules`; operators: `ops`
"""
