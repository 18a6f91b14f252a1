"""The toy world, tiny language models, and the contract checks that run over every method."""
