"""What the runner asks a contender for, and how a contender answers: the same words on every command line.

    CONTENDER --events N --partitions P (--files FILE ... | --kafka HOST:PORT --topic TOPIC)

`events` is how many records there are in all. What a contender prints are lines of counts as JSON, which are added up.
"""

import argparse
from typing import Any


def asked() -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--files", nargs="*", default=[])
    parser.add_argument("--kafka", default="")
    parser.add_argument("--topic", default="")
    parser.add_argument("--process", type=int, help="which process of a cluster this is; told by its first one")
    parser.add_argument("--addresses", default="")
    return parser.parse_args()
