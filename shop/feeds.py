"""What the shop offers to readers outside."""

from outbox.registry import feed
from shop.events import PicklistRequested, PicklistWithdrawn

# Also the scope of the tokens for the warehouse's own addresses (shop/warehouse.py).
WAREHOUSE = "warehouse"

feed(WAREHOUSE, PicklistRequested, PicklistWithdrawn)
