"""Rules and composites as data, what is explained, and which rule each node on the path gets."""
