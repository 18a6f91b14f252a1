"""Splits into training, validation and test parts: drawing, checking and storing them."""
