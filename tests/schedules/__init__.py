"""Every order of events: real store code on a real PostgreSQL, a thread and a connection for each actor, one baton."""
