"""`python -m icrl` is the console script `icrl`."""

import sys

from icrl.cli import main

sys.exit(main())
