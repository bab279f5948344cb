"""``python -m japronto``: the same as the command ``japronto``."""

import sys

from japronto.cli import main

if __name__ == "__main__":
    sys.exit(main())
