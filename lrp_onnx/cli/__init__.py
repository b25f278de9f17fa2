"""The command line: options and words only.

- main: from arguments to exit status, every error in one paragraph; commands: what each takes
- options: those of a compilation; inputs: files for the model's inputs; progress: the bar, stages
- explain, explain_folder: one run and many; results: checked and brought into shape; samples:
  prediction and relevance in words; output_files: picture, page or arrays
- explained: what is explained and by what, in words, for every command
- inspection, path_drawing: `inspect`; verification: `verify`; benchmark: `bench`
- rule_library: `rules`; operators: `ops`; demo: `demo`; tables: how all of them print
"""
