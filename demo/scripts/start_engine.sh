#!/bin/bash
# Starts the trading engine from its root directory. It says in logs/trading.log when it is connected.
cd "$(dirname "$0")" || exit 1
set -a
. ./service.conf || exit 1
set +a
mkdir -p logs run

pid=$(cat run/engine.pid 2>/dev/null)
if [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q trader_ai.engine && [ "/proc/$pid/cwd" -ef . ]; then
    echo "already running (pid $pid)"
    exit 0
fi
(
    # A descriptor kept open here would keep the caller (Ansible, a pipe, a lock) waiting for as long as we run.
    for entry in /proc/"$BASHPID"/fd/*; do
        fd=${entry##*/}
        [ "$fd" -gt 2 ] && eval "exec $fd>&-"
    done
    exec setsid "$PYTHON" -m trader_ai.engine --test </dev/null >>logs/engine.out.log 2>&1
) </dev/null >/dev/null 2>&1 &
echo $! >run/engine.pid
