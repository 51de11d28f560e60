#!/bin/sh
# One night: see whether tonight can work, publish if there is something new, remove old runs.
#
#   nightly.sh CONFIG [packwise run options]
#
# KEEP ("7") runs and those younger than OLDER_THAN ("30d") stay. A broken data contract, a warning of the publish gate
# and everything else that needs a person end with packwise's exit code.
set -u
config=${1:?usage: nightly.sh CONFIG [packwise run options]}
shift

packwise doctor -c "$config" || exit $?

packwise --log-format json run -c "$config" --skip-if-fresh --wait --strict --json "$@"
code=$?
case $code in
  0) ;;
  4) echo "published with warnings: see packwise runs show" >&2 ;;
  99) exit 0 ;; # Nothing new is a good night.
  *) exit $code ;;
esac

packwise runs -c "$config" gc --wait --keep "${KEEP:-7}" --older-than "${OLDER_THAN:-30d}" || exit $?
exit $code
