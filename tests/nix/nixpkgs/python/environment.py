"""Makes a root with bin/python and one site-packages, shaped like a virtual environment.

usage: environment.py TARGET SITE-PACKAGES...
"""

import sys
import sysconfig
from pathlib import Path

VERSION = "{}.{}".format(*sys.version_info)


def main() -> int:
    target, sites = Path(sys.argv[1]), [Path(site) for site in sys.argv[2:]]
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (target / "bin").mkdir(parents=True)
    for name in ("python", "python3", f"python{VERSION}"):
        (target / "bin" / name).symlink_to(base)
    settings = f"home = {base.parent}\ninclude-system-site-packages = false\n"
    (target / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    merged = target / "lib" / f"python{VERSION}" / "site-packages"
    merged.mkdir(parents=True)
    for site in sites:
        for entry in site.iterdir():
            link_once(entry, merged / entry.name)
    library = Path(sysconfig.get_config_var("LIBDIR"), f"libpython{VERSION}.so.1.0")
    (target / "lib" / library.name).symlink_to(library)
    return 0


def link_once(entry: Path, link: Path) -> None:
    if link.is_symlink() and link.resolve() != entry.resolve():
        sys.exit(f"two packages bring {entry.name}: {link.resolve()} and {entry.resolve()}")
    if not link.is_symlink():
        link.symlink_to(entry)


if __name__ == "__main__":
    sys.exit(main())
