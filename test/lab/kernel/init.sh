#!/bin/busybox sh
# The first process of the virtual machine: it mounts the host's file tree, with a layer of memory on top, and goes there.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for m in virtio_pci virtio_net virtio_rng 9p 9pnet_virtio overlay; do modprobe $m; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new
mkdir -p /new/lib/modules
cp -a "/lib/modules/$(uname -r)" /new/lib/modules/
mount -t tmpfs tmpfs /new/run
mkdir -p /new/tmp # not a fresh one: the repository may be there, and the layer of memory takes what is written
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none lab /new/mnt
mkdir -p /new/run/netns /new/run/lock
mount --move /dev /new/dev
mount --move /proc /new/proc
mount --move /sys /new/sys
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
for word in $(cat /new/proc/cmdline); do case $word in lab.node=*) node=${word#lab.node=} ;; esac; done
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec /bin/switch_root /new "$node" guest
