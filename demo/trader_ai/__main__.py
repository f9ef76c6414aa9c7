"""Run the application: ``python -m trader_ai`` from its root directory."""

from trader_ai.server import main

if __name__ == "__main__":
    main()
