"""What happens on one host, as root."""
