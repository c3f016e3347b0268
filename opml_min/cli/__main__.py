"""`python -m opml_min.cli` is the command `opml`."""

import sys

from opml_min.cli import main

sys.exit(main())
