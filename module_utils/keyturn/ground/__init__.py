"""What belongs to the application: its files and its data."""
