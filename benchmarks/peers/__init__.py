"""Other queues on PostgreSQL, measured on the same server in the same sweeps.

What each peer does stands in a program of its own in `programs`, which knows nothing of the store: the peers' packages
are installed into a folder of their own, and their processes run there.
"""
