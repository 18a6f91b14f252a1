"""Simulators of interactions, and what brings their cold items beside the warm ones."""
