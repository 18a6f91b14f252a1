"""Data: read files or frames into a Dataset, split it, and write both to disk.

- ``ids``, ``interactions``, ``catalogue``, ``dataset``: the data types
- ``cells``, ``arrow_columns``, ``values``: input values, and the rules by which they are read
- ``readers``: data frames, our file layout, and those of RecBole and ColdRec
- ``splits``: making, checking, saving and loading splits
- ``sources``: public data sets by name, and the synthetic one
"""
