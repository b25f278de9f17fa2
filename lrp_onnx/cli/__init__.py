"""The command line: options and words only."""
