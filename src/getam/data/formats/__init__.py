"""The forms people's tags come in: one file a format, one line in the registry, and none of them knows another."""
