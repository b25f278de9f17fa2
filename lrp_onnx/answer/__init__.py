"""One call from a model and an input to an answer that shows and saves itself."""
