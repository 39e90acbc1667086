"""Class-specific maps, one file per method."""
