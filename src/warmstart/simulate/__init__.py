"""Simulators of interactions, and the scorer that ranks cold items together with warm ones."""
