"""Experiments: compare many methods over several seeds on one split, resumably.

- ``spec``: the methods and their settings; the grammar of ``--methods`` and the TOML file
- ``job``: fits and evaluates one method with one seed
- ``controls``: oracle, blind audiences, permuted texts, popularity and chance
- ``result``: the result of a job, and its saved form
- ``runner``: runs all jobs of an experiment, in this process or each in a separate one
- ``production``: chooses settings on an inner split, for a fit on all interactions
"""
