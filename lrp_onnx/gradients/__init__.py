"""Gradient methods: where gradients are taken, paths from a baseline, completeness."""
