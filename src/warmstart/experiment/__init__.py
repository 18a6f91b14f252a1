"""An experiment: many methods, several seeds, one split, one table; resumable.

- ``spec``: which methods with which settings; the grammar of ``--methods`` and the TOML file
- ``job``: fit and evaluate one method with one seed
- ``controls``: oracle, blind audiences, permuted texts, popularity and chance
- ``result``: the result of a job, and its saved form
- ``runner``: all jobs of an experiment, in this process or each in its own
- ``production``: choose settings on an inner split, then fit on everything
"""
