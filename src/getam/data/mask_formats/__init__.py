"""Masks in the formats of other tools, there and back: a file a format, none knows another; `registry` lists them."""
