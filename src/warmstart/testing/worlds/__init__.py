"""Small worlds whose right answers are known, one file each."""
