"""What only the compiler knows, in operators of the standard."""
