"""Rule and composite definitions (*.toml): data, nothing here is executed."""
