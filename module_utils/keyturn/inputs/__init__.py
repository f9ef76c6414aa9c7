"""What a person may say: the catalogue, the inventory, a request, and what is wrong with it."""
