"""The processes of the application, and what starts and stops them."""
