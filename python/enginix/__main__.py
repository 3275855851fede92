"""`python -m enginix` is the `enginix` command."""

import sys

from enginix.cli.main import main

sys.exit(main())
