"""A compiled model as what serves it: a repository of Triton, a static web page."""
