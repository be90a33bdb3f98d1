"""What runs the whole store on one machine: PostgreSQL, the processes, their environment.

Nothing here needs Django's settings: the tests and `manage.py demo` start it before there are any.
"""
