"""What a model is and what running it costs: architecture, operations, memory, weights."""
