"""`getam demo`: scenes of handwritten digits, what is trained on them, how it is scored and shown."""
