"""Splits: what is trained on, validated and tested; how it is drawn, checked and stored."""
