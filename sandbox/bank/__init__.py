"""The bank: the part of Stripe's API v1 that a store uses."""
