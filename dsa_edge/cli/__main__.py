"""`python -m dsa_edge.cli`: the command without its script."""

import sys

from dsa_edge.cli import main

sys.exit(main())
