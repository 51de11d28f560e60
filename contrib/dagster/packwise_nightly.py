"""packwise every night under Dagster: one asset, with the figures of the run as its metadata."""

import json
import subprocess

from dagster import (
    AssetExecutionContext,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

CONFIG = "/etc/packwise/packwise.toml"
NOTHING_NEW = 99


@asset(retry_policy=RetryPolicy(max_retries=2, delay=600))
def offers(context: AssetExecutionContext) -> MaterializeResult:
    """The recommendations of the newest run."""
    command = ["packwise", "--log-format", "json", "run", "-c", CONFIG, "--skip-if-fresh", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    # The last line says how it ended, whatever happened.
    said = json.loads(done.stdout.strip().splitlines()[-1])
    if done.returncode not in (0, NOTHING_NEW):
        raise Failure(description=said.get("error", "failed"), metadata={"hint": said.get("hint") or ""})
    context.log.info("%s: run %s", said["status"], said["run_id"])
    return MaterializeResult(
        metadata={
            "run_id": said["run_id"],
            "status": said["status"],
            "rows": said["rows"],
            "seconds": said["seconds"],
            "warnings": said["warnings"],
        }
    )


nightly = define_asset_job("packwise_nightly", selection=[offers])
defs = Definitions(
    assets=[offers],
    jobs=[nightly],
    schedules=[ScheduleDefinition(job=nightly, cron_schedule="30 2 * * *")],
)
