"""A stand-in for a token engine's generate.py that answers or misbehaves as a script says.

usage: python generate.py --model FILE ...; generate.script beside this program, else FILE, holds:
    count N    answers N, N + 1, ... for each prompt
    crash      writes an error to stderr and exits with status 3
    die        kills itself
    few        answers the first prompt only
    hang       never answers
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    script = Path(__file__).with_suffix(".script")
    if not script.exists():
        script = Path(sys.argv[sys.argv.index("--model") + 1])
    word, *rest = script.read_text().split()
    tasks = [json.loads(line) for line in sys.stdin if line.strip()]
    if word == "crash":
        print("noise\nthe model is not to my taste", file=sys.stderr)
        return 3
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hang":
        time.sleep(3600)
    for task in tasks[: 1 if word == "few" else None]:
        first = int(rest[0]) if rest else 0
        print(json.dumps({"ids": list(range(first, first + task["max_tokens"]))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
