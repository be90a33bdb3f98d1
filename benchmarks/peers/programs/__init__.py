"""Programs that are measured: one for each peer. Those in Python run in the peers' environment, not in the store's.

Each is called as `PROGRAM TASK ARGUMENTS` and speaks as `benchmarks.child` does. Its tasks:

    prepare {"jobs"}                               make the peer's tables, and put so many jobs that do nothing there
    drain   {"seconds"}                            work until the queue is empty, or for so long
    listen  {"beats", "seconds"}                   note when each job was handed to its handler
    publish {"beats", "shortest", "longest", "seed"}  commit one job after each pause; note when each was committed
"""
