"""Relevance kept as a product of factor and coefficient; rules in their fewest operations."""
