#!/bin/bash
# Starts the application from its root directory and stays, as the real start_all.sh does, until it is told to end or the
# application has ended.
cd "$(dirname "$0")" || exit 1

end() {
    trap - EXIT
    ./stop.sh
    exit 0
}
trap end INT TERM EXIT
./start.sh || { status=$?; trap - EXIT; exit "$status"; }
while kill -0 "$(cat run/backend.pid 2>/dev/null)" 2>/dev/null; do
    sleep 0.2
done
