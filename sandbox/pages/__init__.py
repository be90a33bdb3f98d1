"""Pages to look at the outside world, and the bank's part in a shopper's browser."""
