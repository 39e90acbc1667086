"""One objective per file; tensors in, scalar out; an empty input gives 0 with a graph, never NaN."""
