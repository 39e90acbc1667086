"""A trained network as others take it: a Hugging Face model repository and a Space, written to disk."""
