"""Evaluation: metrics of a split, the facts they depend on, and tests of differences.

- ``evaluate``: ranks every slice of a split and returns a ``Report``
- ``facts``: data, protocol and known defects that every metric of a report depends on
- ``strata``: exposure, calibration of cold against warm scores, metrics by user and item degree
- ``lists``: number of genres, repetition and diversity of each list; attainable hits
- ``significance``: bootstrap intervals, randomisation test, Holm's rule, detectable effect
- ``labels``: AUC, log loss and calibration of predicted labels
- ``simulation_quality``: quality of simulated interactions, with controls
- ``compare``: builds a ``Comparison`` from several Reports; ``comparison``: its JSON and text forms
- ``html_report``, ``plots``: the HTML page

Masking, top-k and the metric formulas are one layer below, in ``warmstart.rank``.
"""
