"""Imports modules with nothing but the package and its dependencies in reach.

usage: check_imports.py SITE-PACKAGES DEPENDENCY-SITE... -- [MODULE...]
"""

import site
import sys
from importlib import import_module

cut = sys.argv.index("--")
for entry in sys.argv[1:cut]:
    site.addsitedir(entry)
for module in sys.argv[cut + 1 :]:
    import_module(module)
