"""A service that has an opinion about orders, and takes its time over each."""
