"""packwise every night under Airflow: a night without new dumps is skipped, a broken contract fails at once."""

from datetime import datetime, timedelta

from airflow.models.dag import DAG
from airflow.operators.bash import BashOperator

CONFIG = "/etc/packwise/packwise.toml"

with DAG(
    dag_id="packwise_nightly",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
) as dag:
    doctor = BashOperator(task_id="doctor", bash_command=f"packwise doctor -c {CONFIG}")

    # The last line of standard output is one JSON object: run_id, status, rows, seconds, warnings. A stopped run goes
    # on where it was, so a retry costs only what is missing.
    publish = BashOperator(
        task_id="publish",
        bash_command=f"packwise --log-format json run -c {CONFIG} --skip-if-fresh --json",
        skip_on_exit_code=99,
        execution_timeout=timedelta(hours=4),
        do_xcom_push=True,
    )

    remove_old = BashOperator(
        task_id="remove_old",
        bash_command=f"packwise runs -c {CONFIG} gc --wait --keep 7 --older-than 30d",
    )

    doctor >> publish >> remove_old
