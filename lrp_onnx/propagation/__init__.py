"""The walk from the target back to the inputs: rules become nodes, and relevance is accounted for."""
