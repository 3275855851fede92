"""What mpirun starts in place of ssh, to run a command on another machine of an engine.

    python launch_agent.py SOCKET NODE COMMAND...

It passes the command to `nodes.leading` through the Unix socket, and ends with the command's exit
status. It runs without enginix on its path.
"""

from __future__ import annotations

import json
import socket
import sys


def main() -> int:
    place, node, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        asked = {"node": node, "command": " ".join(command)}
        connection.sendall(json.dumps(asked).encode() + b"\n")
        answer = json.loads(connection.makefile("rb").readline() or b"{}")
    # None: the node, or enginix here, is gone.
    return 1 if (status := answer.get("status")) is None else abs(status)


if __name__ == "__main__":
    sys.exit(main())
