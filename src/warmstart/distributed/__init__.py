"""Work on many machines by Ray: encoding texts, and simulating the users of items.

Nothing but the package has to be on the other machines: language models, recommenders and parts of
a table are sent to them through Ray, and results come back. ``cluster`` connects, ``workers``
divides pieces of work among actors, ``user_shards`` searches a table that no machine holds alone.
"""
