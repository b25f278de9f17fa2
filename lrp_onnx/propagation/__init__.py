"""The walk from the target to the inputs: rules become nodes, relevance is accounted for."""
