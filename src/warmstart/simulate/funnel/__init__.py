"""ColdLLM's funnel: a filter shortlists the users of a new item, a language model judges them."""
