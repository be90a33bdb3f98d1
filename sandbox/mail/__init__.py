"""The mail provider: the part of SendGrid's API v3 that a store uses."""
