"""A run's numbers in the tools people follow trainings with: what metrics.jsonl says, handed on as it is written."""
