"""Read files or frames into a Dataset: our own layout, RecBole's and ColdRec's."""
