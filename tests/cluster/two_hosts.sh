#!/bin/bash
# Two machines in namespaces that end with this script: node1, where it runs, and node2, joined by a wire.
# It ends when its standard input does. two_hosts.py starts it in namespaces of its own, with a folder for its
# files, in which "hosts" is the /etc/hosts of both.
set -euo pipefail
cd "$1"

hostname node1
echo 'hosts: files' > nsswitch.conf
mount --bind hosts /etc/hosts
mount --bind nsswitch.conf /etc/nsswitch.conf

unshare --net --uts bash -c 'hostname node2; echo > node2.apart; exec sleep infinity' &
node2=$!
until [ -e node2.apart ]; do sleep 0.02; done
ip link add name wire type veth peer name wire netns "$node2"
ip address add 10.0.0.1/24 dev wire
ip link set lo up
ip link set wire up
nsenter --target "$node2" --net bash -c \
    'ip address add 10.0.0.2/24 dev wire; ip link set lo up; ip link set wire up'
echo "$node2"
cat > /dev/null
