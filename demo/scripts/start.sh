#!/bin/bash
# start.sh [PORT]: starts the application from its root directory and waits until it answers; with PORT it moves to that port.
# Exit status: 0 running, the application's own status when it died, 3 port taken or none, 1 no answer within 30 s.
cd "$(dirname "$0")" || exit 1
set -a
. ./service.conf || exit 1
set +a
mkdir -p logs run

moves= before=$PORT
if [ -n "${1:-}" ] && [ "$1" != "$PORT" ]; then PORT=$1 moves=1; fi
if ! [[ $PORT =~ ^[1-9][0-9]{0,4}$ && $PORT -lt 65536 ]]; then
    echo "$PORT is no port: take a number from 1 to 65535, as in \`make rotate PORT=8770\`; nothing was changed" >&2
    exit 3
fi
# What does not come up on another port has stopped on its own, and starts there again.
refuse() {
    echo "$1" >&2
    if [ -n "$moves" ]; then
        sed -i "s/^PORT=.*/PORT=$before/" service.conf
        echo "\`make demo\` starts it on port $before again" >&2
    fi
}
pid=$(cat run/backend.pid 2>/dev/null)
if [ -z "$moves" ] && [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q trader_ai && [ "/proc/$pid/cwd" -ef . ]; then
    echo "already running (pid $pid)"
    exit 0
fi

# The process that listens on the port, by its name: its command line may hold a secret.
owner() {
    local inode link owner
    inode=$(awk -v port=":$(printf %04X "$PORT")" '$4 == "0A" && $2 ~ port "$" { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    link=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1)
    owner=${link#/proc/}
    owner=${owner%%/*}
    if [ -n "$owner" ]; then
        echo "process $owner ($(tr -cd '[:print:]' 2>/dev/null <"/proc/$owner/comm"))"
    else
        echo "a process of another user"
    fi
}

probe=$HOST
[ "$probe" = 0.0.0.0 ] && probe=127.0.0.1
# Without this, another process's answer on the port would be taken for ours.
if (exec 3<>"/dev/tcp/$probe/$PORT") 2>/dev/null; then
    echo "port $PORT is taken by $(owner): end that, or take another port, as in \`make rotate PORT=$((PORT + 1))\`" >&2
    exit 3
fi

if [ -n "$moves" ]; then
    ./stop.sh >/dev/null
    sed -i "s/^PORT=.*/PORT=$PORT/" service.conf
fi

healthy() {
    (
        exec 3<>"/dev/tcp/$probe/$PORT" &&
            printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 &&
            IFS= read -r -t 2 line <&3 && [[ $line == *" 200"* ]]
    ) 2>/dev/null
}

(
    # A descriptor kept open here would keep the caller (Ansible, a pipe, a lock) waiting for as long as we run.
    for entry in /proc/"$BASHPID"/fd/*; do
        fd=${entry##*/}
        [ "$fd" -gt 2 ] && eval "exec $fd>&-"
    done
    exec setsid "$PYTHON" -m trader_ai </dev/null >>logs/backend.out.log 2>>logs/backend.err.log
) </dev/null >/dev/null 2>&1 &
pid=$!
echo "$pid" >run/backend.pid

deadline=$((SECONDS + 30))
while [ "$SECONDS" -lt "$deadline" ]; do
    if ! kill -0 "$pid" 2>/dev/null; then
        wait "$pid"
        status=$?
        rm -f run/backend.pid
        refuse "the application ended at start with status $status, see $PWD/logs/backend.err.log"
        [ "$status" -eq 0 ] && status=1
        exit "$status"
    fi
    if healthy; then
        echo "running (pid $pid, port $PORT)"
        exit 0
    fi
    sleep 0.05
done
refuse "no healthy answer within 30 s (pid $pid)"
exit 1
