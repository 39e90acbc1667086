"""Photos, tags and masks: reading, checking, transforming, writing."""
