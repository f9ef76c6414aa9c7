"""What runs on the controller only, one file for each action: ``ARGUMENTS`` and ``run(given, check_mode)``."""
