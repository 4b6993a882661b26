"""A trace from record to trigger, through the running dataflow, to a real OTLP receiver."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from connectors.redis_streams import stream
from connectors.topics import EVENTS
from tests.shopping import tracked

ROOT = Path(__file__).parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_trigger_is_a_child_of_the_span_that_its_record_carried(redis_url: str, client: Any, tmp_path: Path) -> None:
    """The traceparent travels from the stream entry through the wait to the trigger, a welcome two seconds later."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "WAXMARK_REDIS": redis_url,
        "WAXMARK_PARTITIONS": "1",
        "WAXMARK_RECOVERY": str(tmp_path / "recovery"),
        "WAXMARK_OTLP_ENDPOINT": f"http://127.0.0.1:{port}/",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", "personalization"]

    async def run() -> Span:
        settings = OtelTapHttpProtobufReceiverSettings(http_port=port)
        async with OtelTapHttpProtobufReceiver(settings) as receiver:
            with (tmp_path / "log").open("wb") as log:
                worker = subprocess.Popen(  # noqa: ASYNC220 - it lives as long as the receiver
                    [*command, "--campaigns", "simulator/demo_campaigns.yaml"],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            try:
                while not await asyncio.to_thread(client.xlen, stream(EVENTS, 0)):  # the campaigns come first
                    assert worker.poll() is None, (tmp_path / "log").read_text()
                    await asyncio.sleep(0.05)
                entry = {
                    "v": tracked("Signed Up", time.time_ns() // 1000),
                    "traceparent": f"00-{TRACE}-{PARENT}-01",
                }
                await asyncio.to_thread(client.xadd, stream(EVENTS, 0), entry)
                return await receiver.await_trace(lambda span: span.name == "waxmark.trigger", timeout=30)
            finally:
                worker.terminate()
                worker.wait(timeout=30)

    span = asyncio.run(run())
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert "welcome" in [attribute.value.string_value for attribute in span.attributes]
