"""Shoppers who use nothing but the public pages, as browsers would."""
