"""Re-ranking of one list: which candidates to show, given their scores and their genres.

- ``mmr``: marginal relevance against similarity to the list, or a penalty on repeated genres
- ``dpp``: greedy inference of a determinantal point process
- ``xquad``: coverage of the genres that a history asks for
- ``calibrated``: genre shares close to those of a history
- ``exact_k``: exactly as many genres as asked for, or exactly the named ones
- ``control``: what a request may ask for, and the function that answers it
- ``similarity``, ``candidates``: similarity of candidates; order, checks and genre sets
- ``single_genre``, ``genre_search``, ``genre_programme``: the algorithms behind ``exact_k``

Every function takes the scores of the candidates of one list, float32, with NaN for a candidate
that cannot be ranked, and returns positions in that array: int32, in list order, at most k, none
twice. "Genres" stands for any attribute with several values. Results are deterministic: wherever
two choices are equally good, the higher score wins, and among equal scores the earlier position.
"""
