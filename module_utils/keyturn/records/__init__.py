"""What is written down for people and for auditors, and read from there."""
