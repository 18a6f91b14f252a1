"""A causal language model that reads the vectors of a collaborative model beside the words."""
