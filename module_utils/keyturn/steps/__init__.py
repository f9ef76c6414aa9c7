"""What the controller does in one task: a file for each action."""
