#!/bin/bash
# Stops this directory's trading engine by SIGTERM: SIGINT would trip its kill switch.
cd "$(dirname "$0")" || exit 1

pid=$(cat run/engine.pid 2>/dev/null)
# Command line and working directory both: a process id may have been given to somebody else since.
ours() {
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q trader_ai.engine && [ "/proc/$pid/cwd" -ef . ]
} 2>/dev/null

if [ -z "$pid" ] || ! ours; then
    rm -f run/engine.pid
    echo "not running"
    exit 0
fi
kill -TERM "$pid"
deadline=$((SECONDS + 5))
while ours; do
    if [ "$SECONDS" -ge "$deadline" ]; then
        echo "still running after 5 s (pid $pid)" >&2
        exit 1
    fi
    sleep 0.02
done
rm -f run/engine.pid
echo "stopped (pid $pid)"
