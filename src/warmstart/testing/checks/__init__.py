"""The contract checks, grouped by what they test."""
