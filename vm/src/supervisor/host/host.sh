# shellcheck shell=sh
# What a host runs while it is a node: makes room for the agent, runs it, and
# when it has ended, for whatever reason, leaves the host as it was found.
#
#     sh -c THIS rapidswap BYTES SHA256 BUILD-ID RELEASE NETDEV DISK
#
# On standard input come BYTES of a compressed tar file with the agent, and
# then what is said to the agent. DISK is the device to swap to, a size in MiB
# of which to make one, or `none`.

set -u
bytes=$1 sha256=$2 build_id=$3 release=$4 netdev=$5 disk=$6
home=/rapidswap
was=$home/was
min_free=/proc/sys/vm/min_free_kbytes
selected=/sys/kernel/mm/remote_swap/area
# All that is started from here has it in its environment, and nothing else.
session=$$-$(cat /proc/sys/kernel/random/uuid)
undone=

fail() {
    echo "$*" >&2
    exit 1
}

# Does it, and remembers if that failed.
undo() {
    said=$("$@" 2>&1) || undone="$undone; $*: $said"
}

# The lines of standard input that are not in a file.
new_since() {
    grep -v -x -F -f "$1" || true
}

swaps() {
    tail -n +2 /proc/swaps | cut -d ' ' -f 1
}

modules() {
    cut -d ' ' -f 1 /proc/modules
}

adapters() {
    ls /sys/class/infiniband 2>/dev/null
}

addresses() {
    ip -o address show dev "$netdev" | sed 's/.* inet6\{0,1\} \([^ ]*\) .*/\1/'
}

remember() {
    mkdir "$was"
    swaps >"$was/swaps"
    modules >"$was/modules"
    adapters >"$was/adapters"
    addresses >"$was/addresses"
    cat "/sys/class/net/$netdev/mtu" >"$was/mtu"
    cat "/sys/class/net/$netdev/flags" >"$was/flags"
    cat $min_free >"$was/min_free"
}

# Kills what was started here, except a program.
end_processes() {
    grep -lzsx "RAPIDSWAP_SESSION=$session" /proc/[0-9]*/environ |
        while IFS=/ read -r _ _ process _; do
            [ "$(readlink "/proc/$process/exe")" = "${1:-}" ] || kill -9 "$process" 2>/dev/null
        done
}

# A client that is on its way out still needs its pages.
await_clients() {
    tries=300
    while [ $tries -gt 0 ]; do
        stats=$("$home/bin/remoteswap-server" ctl /run/remoteswap.sock stats 2>/dev/null) || return
        case $stats in
        *'"load":true'* | *'"store":true'*) sleep 0.2 ;;
        *) return ;;
        esac
        tries=$((tries - 1))
    done
}

restore() {
    trap '' HUP INT TERM
    end_processes "$home/bin/remoteswap-server"
    for area in $(swaps | new_since "$was/swaps"); do
        undo swapoff "$area"
    done
    # The newest, which may use others, comes first.
    for module in $(modules | new_since "$was/modules"); do
        [ ! -e "$home/modules/$module.ko" ] || undo rmmod "$module"
    done
    [ ! -e $selected ] || undo sh -c "echo > $selected"
    await_clients
    end_processes
    for adapter in $(adapters | new_since "$was/adapters"); do
        undo rdma link delete "$adapter"
    done
    for address in $(addresses | new_since "$was/addresses"); do
        undo ip address delete "$address" dev "$netdev"
    done
    undo ip link set dev "$netdev" mtu "$(cat "$was/mtu")"
    # IFF_UP
    [ $(($(cat "$was/flags") & 1)) = 1 ] || undo ip link set dev "$netdev" down
    undo sh -c "cat $was/min_free > $min_free"
    [ ! -e "$home/loop" ] || undo losetup --detach "$(readlink "$home/loop")"
    for group in /sys/fs/cgroup/memory/rapidswap-*; do
        [ ! -d "$group" ] || undo rmdir "$group"
    done
    rm -f /run/remoteswap*.sock /run/remoteswap-server.pid /run/log/remoteswap-server
    undo rm -rf "$home"
    [ -z "$undone" ] || fail "not all could be undone: ${undone#; }"
}

case $(od -An -v -tx1 /sys/kernel/notes | tr -d ' \n') in
*"$build_id"*) ;;
*) fail "it runs another kernel ($(uname -rv)) than this checkout's $release: install what \`./just kernel package\` makes and boot it" ;;
esac
[ -e "/sys/class/net/$netdev" ] || fail "it has no network device $netdev"
mkdir -m 700 $home 2>/dev/null ||
    fail "it has $home already: another cluster uses it, or one was left there when the host went down"
trap 'rm -rf $home' EXIT
trap 'exit 1' HUP INT TERM
trap : PIPE
for module in remoteswap remote_swap_ram; do
    [ ! -d "/sys/module/$module" ] || fail "it has $module loaded already: rmmod it first"
done
remember
trap restore EXIT

head -c "$bytes" >$home/payload.tar.gz
echo "$sha256  $home/payload.tar.gz" | sha256sum --check --status ||
    fail "what was sent did not arrive whole"
tar -xzf $home/payload.tar.gz --no-same-owner -C $home || fail "what was sent cannot be unpacked"
rm $home/payload.tar.gz

case $disk in
none) ;;
/*) ln -s "$disk" $home/swap ;;
*)
    truncate -s "${disk}M" $home/disk
    loop=$(losetup --find --show $home/disk) || fail "no loop device to swap to"
    ln -s "$loop" $home/loop
    ln -s "$loop" $home/swap
    ;;
esac

RAPIDSWAP_SESSION=$session HOME=/root LANG=C.UTF-8 \
    PATH=$home/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    $home/rapidswap-agent --stdio
