"""Rows that a key encrypts."""
