"""The `waxmark` command: one line for what goes wrong, and a non-zero code; never a traceback."""

import sys
from importlib.metadata import version

import cyclopts
import redis
from pydantic import ValidationError
from rich.console import Console

from api.keys import KeysError
from cli import catalogue, collect, content, demo, logs, recovery, run, shoppers, show, topics
from cli.cluster import FINAL, ClusterFailed
from connectors.campaign_file import CampaignFileError
from connectors.journal import BrokenJournal
from connectors.kafka_client import KafkaRefused
from connectors.kafka_records import Expired
from connectors.logfile import BrokenLog
from connectors.recovery_files import WrongShare
from connectors.redis_log import NotEmpty
from connectors.redis_streams import UnsafeRedis
from connectors.telemetry import TelemetryError
from connectors.topics import Fenced
from operators.hosting import Flooded

app = cyclopts.App(
    name="waxmark",
    help="Turn what a customer does into the one email that fits, sent once.",
    version=lambda: version("waxmark"),
)
app.command(demo.demo)
app.command(run.run)
app.command(collect.collect)
app.command(content.content)
app.command(catalogue.app)
app.command(logs.simulate)
app.command(shoppers.shoppers)
app.command(show.profile)
app.command(show.triggers)
app.command(show.deliveries)
app.command(logs.export)
app.command(logs.import_, name="import")
app.command(logs.replay)
app.command(topics.topics)
app.command(recovery.app)
app.command(
    "cli.render:render",
    help="Look at the email that a template makes of somebody's data.\n\nExample: `waxmark render cart-abandonment --user ann`",
)
app.command("cli.backtest:backtest", help="Replay history, and let churn models compete on it.")  # River is loaded
app.command(
    "cli.models:app", name="models", help="List, show, promote and roll back churn models."
)  # when it is needed


def main() -> None:
    """Run the command line."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except ValidationError as error:
        first = error.errors()[0]
        errors.print(
            f"settings: WAXMARK_{'_'.join(map(str, first['loc'])).upper()}: {first['msg'].removeprefix('Value error, ')}"
        )
        sys.exit(2)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        errors.print(
            f"Redis cannot be reached: {error}. Start one, or name another by WAXMARK_REDIS=redis://host:port/0"
        )
        sys.exit(3)
    except KafkaRefused as error:
        errors.print(str(error), markup=False)
        sys.exit(3)
    except (ClusterFailed, Expired, Fenced, Flooded) as error:
        errors.print(str(error), markup=False)
        sys.exit(FINAL)
    except (
        BrokenJournal,
        BrokenLog,
        CampaignFileError,
        KeysError,
        NotEmpty,
        shoppers.NotTaken,
        run.PeerLost,
        TelemetryError,
        UnsafeRedis,
        WrongShare,
        OSError,
        ValueError,
    ) as error:
        errors.print(str(error), markup=False)
        sys.exit(1)
