"""The stages in their order, and the check of what they made."""
