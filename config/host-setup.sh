#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prepares this machine for the broker that a settings file describes.
#
#   host-setup.sh              say what would be changed, and what to do by hand; change nothing
#   host-setup.sh --apply      change it; what was there before is kept in a state file
#   host-setup.sh --undo       put back exactly what --apply changed
#
#   --config FILE   the broker's settings (default /etc/tidemark.conf)
#   --force         take a NIC even if this machine is reached by it
#   --noiommu       give the NIC away without an IOMMU: for a virtual machine whose host offers none
#   --group NAME    who may open the NIC (default tidemark)
#   --root DIR      a described machine: files below DIR; commands are written to DIR/commands
#
# Changed: hugepages on the NIC's NUMA node, the NIC's driver (vfio-pci), IRQs off the data cores, governor of the data cores,
# transparent hugepages, NUMA balancing. Advised: what belongs on the kernel's command line, drives, swap.
# It may be run again at any time: what is as it should be stays. All of it is gone after a boot; tidemark-host.service repeats it.
set -euo pipefail

CONFIG=/etc/tidemark.conf
ROOT=
ACTION=print
FORCE=0
NOIOMMU=0
GROUP=tidemark
REFUSED=0
CHANGES=0

say() { printf '%s\n' "$*"; }
fail() { printf 'host-setup: %s\n' "$*" >&2; exit 1; }
refuse() { printf 'refused:  %s\n' "$*"; REFUSED=1; }
advise() { printf 'by hand:  %s\n' "$*"; }

# ---- small words ------------------------------------------------------------------------------------------------------------

# read_file PATH: its first line, or nothing.
read_file() {
    local line=
    [ ! -r "$ROOT$1" ] || IFS= read -r line <"$ROOT$1" || true
    printf '%s' "$line"
}

link_name() { # PATH: the last part of what it points to, or nothing
    [ -L "$ROOT$1" ] && basename "$(readlink "$ROOT$1")" || true
}

# cpus LIST: "0-2,5" becomes "0 1 2 5".
cpus() {
    local part out=()
    for part in ${1//,/ }; do
        case $part in
        *-*) out+=($(seq "${part%-*}" "${part#*-}")) ;;
        *) out+=("$part") ;;
        esac
    done
    printf '%s' "${out[*]-}"
}

has() { # WORD LIST...
    local word=$1 w
    shift
    for w in "$@"; do [ "$w" != "$word" ] || return 0; done
    return 1
}

joined() { local IFS=,; printf '%s' "$*"; }

# ---- what is kept for --undo ----------------------------------------------------------------------------------------------

# Root's own: /run/tidemark belongs to the service's user, and goes when the service stops.
STATE_NAME=/run/tidemark-host-setup.state

is_kept() { [ -f "$ROOT$STATE_NAME" ] && grep -qF "$1	" "$ROOT$STATE_NAME"; }

keep() { # KIND PATH OLD: the oldest counts
    is_kept "$1	$2" && return 0
    mkdir -p "$(dirname "$ROOT$STATE_NAME")"
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$ROOT$STATE_NAME"
}

forget_last() { sed -i '$d' "$ROOT$STATE_NAME"; }

# put PATH VALUE: false when the kernel does not take it.
put() { { printf '%s\n' "$2" >"$ROOT$1"; } 2>/dev/null; }

# change PATH OLD NEW WHY
change() {
    local kept=1
    [ "$2" != "$3" ] || return 0
    CHANGES=$((CHANGES + 1))
    say "change:   $1: ${2:-nothing} -> $3   ($4)"
    [ "$ACTION" = apply ] || return 0
    is_kept "file	$1" || kept=0
    keep file "$1" "$2"
    put "$1" "$3" && return 0
    [ $kept = 1 ] || forget_last
    say "          the kernel does not take it"
    return 1
}

run() { # COMMAND...: something that is no file
    CHANGES=$((CHANGES + 1))
    say "run:      $*"
    [ "$ACTION" = apply ] || return 0
    if [ -n "$ROOT" ]; then printf '%s\n' "$*" >>"$ROOT/commands"; else "$@"; fi
}

undo() {
    local kind path old
    [ -f "$ROOT$STATE_NAME" ] || { say "nothing was changed, so there is nothing to undo"; return 0; }
    while IFS=$'\t' read -r kind path old; do
        case "$kind $path" in
        *..* | *[[:space:]]*[[:space:]]*) say "left out: $kind $path, which --apply did not write" ;;
        file\ /sys/* | file\ /proc/*)
            say "back:     $path: ${old:-nothing}"
            put "$path" "$old" || say "          the kernel does not take it"
            ;;
        bound\ ????:??:??.?) # a PCI device; old: the driver it had, or nothing
            say "back:     $path: driver ${old:-none}"
            put "/sys/bus/pci/devices/$path/driver_override" "" || true
            put /sys/bus/pci/drivers/vfio-pci/unbind "$path" || true
            [ -z "$old" ] || put "/sys/bus/pci/drivers/${old##*/}/bind" "$path" || put /sys/bus/pci/drivers_probe "$path" || say "          $old does not take it"
            ;;
        *) say "left out: $kind $path, which --apply did not write" ;;
        esac
    done < <(tac "$ROOT$STATE_NAME")
    rm -f "$ROOT$STATE_NAME"
}

# ---- the settings ------------------------------------------------------------------------------------------------------------

setting() { # NAME DEFAULT
    local value
    value=$(sed -n "s/^[ \t]*${1//./\\.}[ \t]*=[ \t]*\(.*[^ \t]\)[ \t]*$/\1/p" "$ROOT$CONFIG" | tail -1)
    printf '%s' "${value:-$2}"
}

read_settings() {
    local port
    [ -r "$ROOT$CONFIG" ] || fail "no settings file $CONFIG; \`tidemark doctor --suggest\` prints one for this machine, --config names another"
    MEMORY_MB=$(setting dpdk.memory.mb 768)
    HUGEPAGES=$(setting dpdk.hugepages auto)
    IDLE=$(setting core.idle wait)
    LOG_DIRS=$(setting log.dirs /var/lib/tidemark)
    CORES=($(cpus "$(setting data.cores '' | tr -d ' ')"))
    PCI=()
    VDEV=0
    local IFS=';'
    for port in $(setting data.ports ''); do
        port=${port//[[:space:]]/}
        case $port in
        vdev:*) VDEV=1 ;;
        ????:??:??.?*) PCI+=("${port%%,*}") ;;
        ??:??.?*) PCI+=("0000:${port%%,*}") ;;
        esac
    done
    [ $VDEV = 1 ] || [ ${#PCI[@]} -gt 0 ] || fail "$CONFIG names no port: data.ports is missing"
}

# ---- hugepages -----------------------------------------------------------------------------------------------------------------

node_of_broker() {
    local a node
    for a in ${PCI[@]+"${PCI[@]}"}; do
        node=$(read_file "/sys/bus/pci/devices/$a/numa_node")
        [ -z "$node" ] || [ "$node" = -1 ] || { printf '%s' "$node"; return; }
    done
    if [ ${#CORES[@]} -gt 0 ]; then
        for node in "$ROOT/sys/devices/system/cpu/cpu${CORES[0]}"/node[0-9]*; do
            [ -e "$node" ] && { printf '%s' "${node##*node}"; return; }
        done
    fi
    printf 0
}

reserve_hugepages() {
    local dir=/sys/devices/system/node/node$(node_of_broker)/hugepages/hugepages-2048kB pages=$(((MEMORY_MB + 1) / 2)) all free got
    if [ "$HUGEPAGES" = off ] || { [ "$HUGEPAGES" = auto ] && [ ${#PCI[@]} = 0 ]; }; then
        say "good:     no hugepages wanted: dpdk.hugepages=$HUGEPAGES$([ ${#PCI[@]} -gt 0 ] || printf ', and no PCI port')"
        return 0
    fi
    [ -d "$ROOT$dir" ] || dir=/sys/kernel/mm/hugepages/hugepages-2048kB
    [ -d "$ROOT$dir" ] || { refuse "this kernel has no hugepages of 2 MiB"; return 0; }
    all=$(read_file $dir/nr_hugepages)
    free=$(read_file $dir/free_hugepages)
    # Pages that we reserved may be in use by our broker.
    if [ "$free" -ge $pages ] || { is_kept "file	$dir/nr_hugepages" && [ "$all" -ge $pages ]; }; then
        say "good:     $all hugepages, $free free, of which dpdk.memory.mb=$MEMORY_MB wants $pages ($dir)"
        return 0
    fi
    change $dir/nr_hugepages "$all" $((all + pages - free)) "dpdk.memory.mb=$MEMORY_MB" || true
    [ "$ACTION" = apply ] || return 0
    got=$(read_file $dir/nr_hugepages)
    [ "$got" -ge $((all + pages - free)) ] ||
        refuse "the kernel found only $got hugepages: memory is in pieces; reserve them at boot: hugepages=$pages on the kernel's command line"
}

# ---- the NIC ---------------------------------------------------------------------------------------------------------------------

# Interfaces, and what they are a part of. virtio has a bus of its own in between.
interfaces_of() { # PCI_ADDRESS
    local n master
    for n in "$ROOT/sys/bus/pci/devices/$1/net"/* "$ROOT/sys/bus/pci/devices/$1"/virtio*/net/*; do
        [ -e "$n" ] || continue
        printf '%s\n' "$(basename "$n")"
        master=$(link_name "/sys/class/net/$(basename "$n")/master")
        [ -z "$master" ] || printf '%s\n' "$master"
    done
}

default_routes() { # interfaces with one
    { [ ! -r "$ROOT/proc/net/route" ] || awk 'NR > 1 && $2 == "00000000" && $8 == "00000000" { print $1 }' "$ROOT/proc/net/route"
      [ ! -r "$ROOT/proc/net/ipv6_route" ] ||
          awk '$1 ~ /^0+$/ && $2 == "00" && $5 !~ /^0+$/ && $NF != "lo" { print $NF }' "$ROOT/proc/net/ipv6_route"; } | sort -u
}

addressed() { # interfaces with an address of more than the link
    { [ ! -r "$ROOT/proc/net/route" ] || awk 'NR > 1 && $1 != "lo" { print $1 }' "$ROOT/proc/net/route"
      [ ! -r "$ROOT/proc/net/if_inet6" ] || awk '$4 == "00" && $6 != "lo" { print $6 }' "$ROOT/proc/net/if_inet6"; } | sort -u
}

# True when nobody loses this machine by it.
may_take() { # PCI_ADDRESS
    local mine all other n
    mine=$(interfaces_of "$1")
    [ -n "$mine" ] || return 0
    for n in $mine; do
        if has "$n" $(default_routes); then
            [ $FORCE = 1 ] && { say "WARNING:  $n carries the default route; --force takes it, nevertheless"; return 0; }
            refuse "$1 is $n, which carries the default route: this machine would be cut off. Give the broker another NIC, or --force"
            return 1
        fi
    done
    all=$(addressed)
    other=
    for n in $all; do has "$n" $mine || other=$n; done
    if [ -n "$all" ] && [ -z "$other" ]; then
        [ $FORCE = 1 ] && { say "WARNING:  this machine has no other address than that of $1; --force takes it, nevertheless"; return 0; }
        refuse "$1 ($(joined $mine)) has the only address of this machine: it could not be reached any more. Give the broker another NIC, or --force"
        return 1
    fi
}

# Everything in an IOMMU group is given away together.
group_is_ours() { # PCI_ADDRESS GROUP
    local d driver a
    for d in "$ROOT/sys/kernel/iommu_groups/$2/devices"/*; do
        [ -e "$d" ] || [ -L "$d" ] || continue
        a=$(basename "$d")
        case $(read_file "/sys/bus/pci/devices/$a/class") in 0x0604*) continue ;; esac
        driver=$(link_name "/sys/bus/pci/devices/$a/driver")
        has "$a" "${PCI[@]}" || [ -z "$driver" ] || [ "$driver" = vfio-pci ] || {
            refuse "$1 shares IOMMU group $2 with $a ($driver), which would have to be given away as well: use another slot or NIC"
            return 1
        }
    done
}

# The IOMMU group of a device; a group that vfio made up for want of an IOMMU is none.
iommu_group() { # PCI_ADDRESS
    local group
    group=$(link_name "/sys/bus/pci/devices/$1/iommu_group")
    [ -z "$group" ] || [ "$(read_file "/sys/kernel/iommu_groups/$group/name")" = vfio-noiommu ] || printf '%s' "$group"
}

check_iommu() { # PCI_ADDRESS
    local group
    group=$(iommu_group "$1")
    [ -z "$group" ] || { group_is_ours "$1" "$group"; return; }
    if [ $NOIOMMU = 0 ]; then
        refuse "no IOMMU for $1: switch it on in the firmware (VT-d, AMD-Vi) and boot with intel_iommu=on iommu=pt or amd_iommu=on iommu=pt." \
            "In a virtual machine whose host offers none: --noiommu"
        return 1
    fi
    say "WARNING:  ############################################################################"
    say "WARNING:  $1 without an IOMMU: the NIC, and whoever may open it, can read and write"
    say "WARNING:  ALL MEMORY of this machine. The kernel is tainted by it. Only in a virtual"
    say "WARNING:  machine that holds nothing but this broker."
    say "WARNING:  ############################################################################"
    change /sys/module/vfio/parameters/enable_unsafe_noiommu_mode "$(read_file /sys/module/vfio/parameters/enable_unsafe_noiommu_mode)" Y "--noiommu" ||
        { refuse "this kernel cannot give a NIC away without an IOMMU (CONFIG_VFIO_NOIOMMU)"; return 1; }
}

give_group() { # PCI_ADDRESS: who may open it
    local group device
    group=$(link_name "/sys/bus/pci/devices/$1/iommu_group")
    [ -n "$(iommu_group "$1")" ] && device=/dev/vfio/$group || device=/dev/vfio/noiommu-${group:-N}
    grep -q "^$GROUP:" "$ROOT/etc/group" 2>/dev/null || { advise "there is no group $GROUP to open $device: only root can (systemd-sysusers makes the group)"; return 0; }
    [ "$ACTION" != apply ] || [ -n "$ROOT" ] || [ -e "$device" ] || { refuse "$device did not appear"; return 0; }
    [ -z "$ROOT" ] && [ -e "$device" ] && [ "$(stat -c %G:%a "$device")" = "$GROUP:660" ] && return 0
    run chgrp "$GROUP" "$device"
    run chmod 660 "$device"
}

bind_nic() { # PCI_ADDRESS
    local a=$1 dir=/sys/bus/pci/devices/$1 driver
    [ -e "$ROOT$dir" ] || { refuse "no PCI device $a"; return 0; }
    driver=$(link_name $dir/driver)
    case $driver in
    mlx4_core | mlx5_core) say "good:     $a stays with $driver: its DPDK driver works beside the kernel's"; return 0 ;;
    vfio-pci) say "good:     $a is bound to vfio-pci"; check_iommu "$a" || true; give_group "$a"; return 0 ;;
    esac
    may_take "$a" || return 0
    [ -e "$ROOT/sys/bus/pci/drivers/vfio-pci" ] || run modprobe vfio-pci
    check_iommu "$a" || return 0
    CHANGES=$((CHANGES + 1))
    say "change:   $a: driver ${driver:-none} -> vfio-pci"
    if [ "$ACTION" = apply ]; then
        keep bound "$a" "$driver"
        put $dir/driver_override vfio-pci || { refuse "$a takes no driver_override"; return 0; }
        [ -z "$driver" ] || put $dir/driver/unbind "$a" || { refuse "$driver does not let go of $a"; return 0; }
        put /sys/bus/pci/drivers_probe "$a" || { refuse "vfio-pci does not take $a"; return 0; }
        [ -n "$ROOT" ] || [ "$(link_name $dir/driver)" = vfio-pci ] || { refuse "$a is not bound to vfio-pci; dmesg says why"; return 0; }
    fi
    give_group "$a"
}

# ---- cores -----------------------------------------------------------------------------------------------------------------------

move_irqs() {
    local f number now left c moved=0
    for f in "$ROOT"/proc/irq/[0-9]*/smp_affinity_list; do
        [ -r "$f" ] || continue
        number=$(basename "$(dirname "$f")")
        now=$(read_file "/proc/irq/$number/smp_affinity_list")
        left=()
        for c in $(cpus "$now"); do has "$c" "${CORES[@]}" || left+=("$c"); done
        [ ${#left[@]} -ne "$(cpus "$now" | wc -w)" ] && [ ${#left[@]} -gt 0 ] || continue
        # Those that the kernel manages by itself keep their place.
        change "/proc/irq/$number/smp_affinity_list" "$now" "$(joined "${left[@]}")" "off the data cores" && moved=1 || true
    done
    [ $moved = 0 ] || [ ! -e "$ROOT/usr/sbin/irqbalance" ] ||
        advise "irqbalance moves them back: IRQBALANCE_BANNED_CPULIST=$(joined "${CORES[@]}") in /etc/default/irqbalance"
}

set_governors() {
    local c f
    for c in "${CORES[@]}"; do
        f=/sys/devices/system/cpu/cpu$c/cpufreq/scaling_governor
        [ -r "$ROOT$f" ] || continue
        change $f "$(read_file $f)" performance "a data core does not clock down" || true
    done
}

chosen() { read_file "$1" | sed -n 's/.*\[\(.*\)\].*/\1/p'; }

calm_memory() {
    local thp=/sys/kernel/mm/transparent_hugepage/enabled balancing=/proc/sys/kernel/numa_balancing
    [ "$(chosen $thp)" != always ] || change $thp always madvise "pages that are merged stop a core for a while" || true
    [ "$(read_file $balancing)" != 1 ] || [ ! -e "$ROOT/sys/devices/system/node/node1" ] ||
        change $balancing 1 0 "pages that are unmapped to be watched stop a core for a while" || true
    [ ! -r "$ROOT/proc/swaps" ] || [ "$(wc -l <"$ROOT/proc/swaps")" -le 1 ] || advise "swap is on; a broker whose memory is swapped out stands still: swapoff -a, and take it out of /etc/fstab"
}

# ---- what takes a boot ---------------------------------------------------------------------------------------------------------

advise_command_line() {
    local line words=() list option isolated a
    line=" $(read_file /proc/cmdline) "
    if [ ${#CORES[@]} -gt 0 ] && [ "$IDLE" = spin ]; then
        list=$(joined "${CORES[@]}")
        isolated=$(cpus "$(read_file /sys/devices/system/cpu/isolated)")
        for a in "${CORES[@]}"; do has "$a" $isolated || { words+=("isolcpus=managed_irq,domain,$list"); break; }; done
        for option in nohz_full rcu_nocbs; do
            case $line in *" $option="*) ;; *) words+=("$option=$list") ;; esac
        done
    fi
    for a in ${PCI[@]+"${PCI[@]}"}; do
        [ -e "$ROOT/sys/bus/pci/devices/$a" ] && [ -z "$(iommu_group "$a")" ] && [ $NOIOMMU = 0 ] || continue
        case $(link_name "/sys/bus/pci/devices/$a/driver") in mlx*) continue ;; esac
        grep -q AuthenticAMD "$ROOT/proc/cpuinfo" 2>/dev/null && words+=(amd_iommu=on iommu=pt) || words+=(intel_iommu=on iommu=pt)
        break
    done
    if [ "$IDLE" = spin ] && [ -d "$ROOT/sys/module/nvme" ] && [ "$(read_file /sys/module/nvme/parameters/poll_queues)" = 0 ]; then
        words+=("nvme.poll_queues=$([ ${#CORES[@]} -gt 0 ] && echo ${#CORES[@]} || echo 1)")
    fi
    [ ${#words[@]} = 0 ] || advise "on the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, update-grub, boot): ${words[*]}"
}

advise_limits() {
    [ ${#PCI[@]} = 0 ] || [ -n "${INVOCATION_ID:-}" ] ||
        advise "a broker that systemd does not start needs locked memory: 'tidemark - memlock unlimited' in /etc/security/limits.d/tidemark.conf"
}

# ---- all of it -----------------------------------------------------------------------------------------------------------------

main() {
    local a
    while [ $# -gt 0 ]; do
        case $1 in
        --apply) ACTION=apply ;;
        --undo) ACTION=undo ;;
        --config) CONFIG=${2:?--config needs a file}; shift ;;
        --force) FORCE=1 ;;
        --noiommu) NOIOMMU=1 ;;
        --group) GROUP=${2:?--group needs a name}; shift ;;
        --root) ROOT=${2:?--root needs a directory}; ROOT=${ROOT%/}; shift ;;
        -h | --help) sed -n '3,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "no option $1; see --help" ;;
        esac
        shift
    done
    [ "$ACTION" = print ] || [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || fail "--$ACTION needs root"
    if [ "$ACTION" = undo ]; then undo; return 0; fi
    read_settings
    reserve_hugepages
    for a in ${PCI[@]+"${PCI[@]}"}; do bind_nic "$a"; done
    if [ ${#CORES[@]} -gt 0 ]; then
        move_irqs
        set_governors
    elif [ "$IDLE" = spin ]; then
        advise "core.idle=spin without data.cores: name the CPUs, so that they can be kept free"
    fi
    calm_memory
    advise_command_line
    advise_limits
    if [ $CHANGES = 0 ]; then say "nothing to change"; elif [ "$ACTION" = print ]; then say "nothing was changed; do it with: $0 --apply"; fi
    return $REFUSED
}

main "$@"
