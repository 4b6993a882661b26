"""`python -m connectors.probe URL...`: the health check of a container; exit code 0 where one of the URLs answers with 2xx.

It imports next to nothing: the whole command line would cost a second of CPU at each check.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


def healthy(url: str, timeout: float = 4.0) -> bool:
    """Ask once; `timeout` is in seconds. A refused connection, like any failure, is a no."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status // 100 == 2  # noqa: PLR2004 - HTTP's class of success
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if any(map(healthy, sys.argv[1:])) else 1)
