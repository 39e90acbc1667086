"""Networks outside of Python's modules: ONNX files, which run without torch, and programs of torch.export."""
