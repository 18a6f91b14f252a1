"""Lists with wanted genres that a causal LM plans and writes: genres, their places, titles."""
