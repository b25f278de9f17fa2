"""Millions of inputs: planned as shards, explained by workers on Ray, written as Parquet."""
