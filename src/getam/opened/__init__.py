"""What the options name, opened: a model and the chain it is read with, and who makes saliency maps."""
