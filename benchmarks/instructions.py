"""Counting instructions of the interpreter: the same on every machine and at every load, so that CI can compare."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def instructions(work: Callable[[], object]) -> int:
    """Run something on this thread and count the bytecode instructions that it takes. What C does in one is one."""
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001 - the tracing protocol
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
