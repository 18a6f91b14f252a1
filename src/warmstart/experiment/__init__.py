"""An experiment: many methods, several seeds, one split, one table; resumable.

- ``spec``: which methods with which settings; the grammar of ``--methods`` and the TOML file
- ``job``: fit and evaluate one method with one seed
- ``controls``: what is left without the idea: oracle, other audiences, permuted texts
- ``outcome``: what a job gave, and its saved form
- ``runner``: all jobs of an experiment, in this process or each in its own
"""
