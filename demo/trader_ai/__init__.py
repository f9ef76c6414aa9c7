"""A stand-in for the trading application whose secrets Keyturn rotates.

It behaves like the real application wherever a rotation can notice, its faults included.
It shares no code with Keyturn: what it reads back is an independent witness.
"""
