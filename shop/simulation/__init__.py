"""People who use nothing but the pages, as browsers would: shoppers, and operators at the admin; and a warehouse."""
