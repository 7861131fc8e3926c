#!/bin/sh
# Starts two virtual machines that pose as hosts: they boot systemd by
# themselves, and all there is of them from outside is an sshd each, and a cable
# between the two.
#
#     pose.sh VMLINUX IMAGE DIR [PORT PORT]
#
# Prints `ready` when both answer. DIR/ssh_config then knows the hosts `client`
# and `server`, DIR/profile.toml is a profile of them, and DIR/NAME.log what
# each says on its console. They are there until this ends.

set -eu
# Where QEMU keeps what they write to their disks.
export TMPDIR="${TMPDIR:-/var/tmp}"
vmlinux=$1 image=$2 dir=$(cd "$3" && pwd)
client_port=${4:-2201} server_port=${5:-2202}
profiles=$(cd "$(dirname "$0")/../../profiles" && pwd)
# How long they may take to boot, in seconds.
deadline=300

# Memory limits are those of cgroup v1. Without KVM each service that is
# started costs time, and none of these is of use to a machine that lasts for
# one test.
line="root=/dev/vda rw console=ttyS0,115200 loglevel=5 net.ifnames=0 nokaslr"
line="$line systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
line="$line systemd.wants=systemd-network-generator.service"
line="$line systemd.wants=systemd-networkd.service"
line="$line systemd.firstboot=off systemd.show_status=no"
for unit in serial-getty@ttyS0 getty-static ldconfig memcached nbd-server redis-server \
    rsyslog systemd-hwdb-update systemd-journal-catalog-update \
    systemd-networkd-persistent-storage systemd-networkd-wait-online; do
    line="$line systemd.mask=$unit.service"
done
if [ -w /dev/kvm ] && [ "${POSE_ACCEL:-tcg}" = kvm ]; then
    accel=kvm cpu=host
else
    accel=tcg,thread=multi,tb-size=256 cpu=max,la57=off,erms=off,fsrm=off
    line="$line tsc=reliable no_timer_check rcupdate.rcu_expedited=1"
fi

pids=
end() {
    trap '' EXIT INT TERM HUP
    # shellcheck disable=SC2086 # a list
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    wait
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

rm -f "$dir/key" "$dir/key.pub"
ssh-keygen -q -t ed25519 -N '' -C posed -f "$dir/key"
printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\n' >"$dir/control.network"
cat >"$dir/ssh_config" <<END
Host client
    Port $client_port
Host server
    Port $server_port
Host *
    HostName 127.0.0.1
    User root
    IdentityFile $dir/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
END
cat >"$dir/profile.toml" <<END
# Two machines, each known by how ssh reaches it and its address on the link.
# Addresses and port are no other profile's, for the tests to be held to them.
time_scale = 8

[link]
kind = "rxe"
netdev = "eth1"
mtu = 4200
port = 9417

[node.client]
ssh = ["-F", "$dir/ssh_config", "client"]
address = "10.78.5.18/28"

[node.server]
ssh = ["-F", "$dir/ssh_config", "server"]
address = "10.78.5.17/28"
END
# What hosts cannot do, these cannot either; their adapter is soft-RoCE.
sed -n '/^\[skip\]/,$p' "$profiles/mlx5.toml" | grep -v '^"local_drops::' >>"$dir/profile.toml"

# NAME PEER PORT STATION
pose() {
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -name "posed-$1" -machine q35,usb=off,sata=off -accel "$accel" -cpu "$cpu" \
        -smp 1 -m 768M -serial "file:$dir/$1.log" -device virtio-rng-pci \
        -drive "if=none,id=root,format=raw,snapshot=on,file=$image" \
        -device virtio-blk-pci,drive=root \
        -netdev "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:$3-:22" \
        -device virtio-net-pci,netdev=control,romfile= \
        -netdev "dgram,id=link,local.type=unix,local.path=$dir/$1.sock,remote.type=unix,remote.path=$dir/$2.sock" \
        -device "virtio-net-pci,netdev=link,mac=52:54:00:52:54:0$4,host_mtu=4200,romfile=" \
        -fw_cfg "name=opt/io.systemd.credentials/ssh.authorized_keys.root,file=$dir/key.pub" \
        -fw_cfg "name=opt/io.systemd.credentials/network.network.control,file=$dir/control.network" \
        -kernel "$vmlinux" -append "$line systemd.hostname=$1" &
    pids="$pids $!"
}
pose client server "$client_port" 1
pose server client "$server_port" 2

for name in client server; do
    until ssh -F "$dir/ssh_config" -o BatchMode=yes -o ConnectTimeout=20 "$name" true 2>"$dir/ssh.log"; do
        # shellcheck disable=SC2086 # a list
        kill -0 $pids || exit 1
        deadline=$((deadline - 1))
        [ $deadline -gt 0 ] || {
            echo "pose.sh: $name does not answer: $(cat "$dir/ssh.log"); see $dir/$name.log" >&2
            exit 1
        }
        sleep 1
    done
done
echo ready
wait
