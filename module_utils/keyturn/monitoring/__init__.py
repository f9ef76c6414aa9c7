"""What a site watches."""
