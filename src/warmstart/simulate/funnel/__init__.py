"""ColdLLM's funnel: a filter shortlists users of a new item, a language model judges them."""
