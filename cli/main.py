"""The `waxmark` command: one line for what goes wrong, and a non-zero code; never a traceback."""

import sys

import cyclopts
import redis
from pydantic import ValidationError
from rich.console import Console

from cli import demo, logs, run, show
from connectors.campaign_file import CampaignFileError
from connectors.logfile import BrokenLog
from connectors.redis_log import NotEmpty
from connectors.redis_streams import Fenced, UnsafeRedis
from connectors.telemetry import TelemetryError
from operators.hosting import Flooded

app = cyclopts.App(name="waxmark", help="Turn what a customer does into the one email that fits, sent once.")
app.command(demo.demo)
app.command(run.run)
app.command(logs.simulate)
app.command(show.profile)
app.command(show.triggers)
app.command(logs.export)
app.command(logs.import_, name="import")
app.command(logs.replay)


def main() -> None:
    """Run the command line."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except ValidationError as error:
        first = error.errors()[0]
        errors.print(f"settings: WAXMARK_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}")
        sys.exit(2)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        errors.print(
            f"Redis cannot be reached: {error}. Start one, or name another by WAXMARK_REDIS=redis://host:port/0"
        )
        sys.exit(3)
    except (
        BrokenLog,
        CampaignFileError,
        Fenced,
        Flooded,
        NotEmpty,
        TelemetryError,
        UnsafeRedis,
        OSError,
        ValueError,
    ) as error:
        errors.print(str(error), markup=False)
        sys.exit(1)
