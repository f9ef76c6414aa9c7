"""What concerns all hosts, decided on the controller."""
