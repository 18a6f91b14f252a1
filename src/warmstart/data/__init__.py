"""Data: from files or frames to a Dataset, from a Dataset to a Split, and both on disk.

- ``ids``, ``interactions``, ``catalogue``, ``dataset``, ``split``: the nouns
- ``files``, ``tables``, ``columns``, ``assemble``, ``settings``: reading our input format
- ``atomic``, ``coldrec``: other people's layouts
- ``protocols``, ``split_check``, ``split_files``: making, checking, saving and loading splits
- ``sources``: public data sets by name, and the synthetic one
"""
