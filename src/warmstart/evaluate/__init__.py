"""Evaluation: full ranking by slice, simulation quality, significance, comparison, report."""
