"""Evaluation: what a number is, what it depends on, and whether a difference means anything.

- ``evaluate``: ranks every slice of a split and returns a ``Report``
- ``facts``: what every number of a report depends on, known defects included
- ``strata``: exposure, calibration of cold against warm scores, user and item degrees
- ``significance``: bootstrap intervals, randomisation test, Holm, detectable effect
- ``simulation_quality``: quality of simulated interactions, with controls
- ``compare``: from several Reports to one ``Comparison``; ``comparison``: that table, JSON, text
- ``html_report``, ``plots``: the HTML page

Masking, top-k and the metric formulas are one layer below, in ``warmstart.rank``.
"""
