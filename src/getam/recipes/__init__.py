"""One file per system that is trained: what it builds, its step, its defaults."""
