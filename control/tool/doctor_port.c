/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "tool/doctor.h"

enum { LISTED = 256, PACKET_MTU_MAX = 1500 };

/* Families of NICs that differ in what they need. By the kernel's driver, or, when that has let go of it, by vendor and device. */
enum take { BY_VFIO, BESIDE_KERNEL };

static const struct family {
    const char *pmd;    /* librte_net_ of that name */
    const char *kernel; /* its driver in the kernel */
    enum take take;
    long vendor, first, last;
} families[] = {
    {"mlx5", "mlx5_core", BESIDE_KERNEL, 0x15b3, 0x1011, 0xffff},
    {"mlx4", "mlx4_core", BESIDE_KERNEL, 0x15b3, 0x1000, 0x1010},
    {"ice", "ice", BY_VFIO, 0x8086, 0x1591, 0x159b},
    {"ice", "ice", BY_VFIO, 0x8086, 0x1888, 0x189a},
    {"i40e", "i40e", BY_VFIO, 0x8086, 0x1572, 0x158b},
    {"i40e", "i40e", BY_VFIO, 0x8086, 0x37ce, 0x37d3},
    {"virtio", "virtio-pci", BY_VFIO, 0x1af4, 0x1000, 0x107f},
    {"ixgbe", "ixgbe", BY_VFIO, 0, 0, 0},
    {"e1000", "igb", BY_VFIO, 0, 0, 0},
    {"e1000", "e1000e", BY_VFIO, 0, 0, 0},
    {"igc", "igc", BY_VFIO, 0, 0, 0},
    {"bnxt", "bnxt_en", BY_VFIO, 0, 0, 0},
    {"ena", "ena", BY_VFIO, 0, 0, 0},
    {"vmxnet3", "vmxnet3", BY_VFIO, 0, 0, 0},
};

struct nic_found {
    char address[MACHINE_NAME];
    char driver[MACHINE_NAME];    /* "": none */
    char interface[MACHINE_NAME]; /* "": the kernel has none for it */
    const struct family *family;  /* NULL: not one of those */
    int node;
    bool iommu;
    bool noiommu;                 /* vfio has it without an IOMMU */
    bool is_way_in;               /* it carries the default route */
};

static const struct family *family_of(const char *driver, long vendor, long device)
{
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(families); i++)
        if (strcmp(families[i].kernel, driver) == 0 ||
            (families[i].vendor == vendor && families[i].first <= device && device <= families[i].last))
            return &families[i];
    return NULL;
}

/* virtio has a bus of its own in between. */
static void find_interface(const struct machine *m, const char *pci, char *ret)
{
    char names[LISTED][MACHINE_NAME], inner[1][MACHINE_NAME];
    unsigned n;
    ret[0] = 0;
    if (machine_names(m, inner, 1, "/sys/bus/pci/devices/%s/net", pci) == 1) {
        memcpy(ret, inner[0], MACHINE_NAME);
        return;
    }
    n = machine_names(m, names, LISTED, "/sys/bus/pci/devices/%s", pci);
    for (unsigned i = 0; i < n; i++)
        if (strncmp(names[i], "virtio", 6) == 0 && machine_names(m, inner, 1, "/sys/bus/pci/devices/%s/%s/net", pci, names[i]) == 1)
            memcpy(ret, inner[0], MACHINE_NAME);
}

static bool is_way_in(const struct machine *m, const char *interface)
{
    char master[MACHINE_NAME];
    if (interface[0] == 0)
        return false;
    if (machine_has_default_route(m, interface))
        return true;
    return machine_link(m, master, sizeof(master), "/sys/class/net/%s/master", interface) && machine_has_default_route(m, master);
}

static bool find_nic(const struct machine *m, const char *pci, struct nic_found *ret)
{
    char group[MACHINE_NAME], name[MACHINE_NAME];
    if (!machine_has(m, "/sys/bus/pci/devices/%s", pci))
        return false;
    *ret = (struct nic_found){.node = (int)machine_number(m, -1, "/sys/bus/pci/devices/%s/numa_node", pci)};
    snprintf(ret->address, sizeof(ret->address), "%s", pci);
    (void)machine_link(m, ret->driver, sizeof(ret->driver), "/sys/bus/pci/devices/%s/driver", pci);
    ret->family = family_of(ret->driver, machine_number(m, 0, "/sys/bus/pci/devices/%s/vendor", pci), machine_number(m, 0, "/sys/bus/pci/devices/%s/device", pci));
    find_interface(m, pci, ret->interface);
    ret->is_way_in = is_way_in(m, ret->interface);
    if (machine_link(m, group, sizeof(group), "/sys/bus/pci/devices/%s/iommu_group", pci)) {
        (void)machine_line(m, name, sizeof(name), "/sys/kernel/iommu_groups/%s/name", group);
        ret->noiommu = strcmp(name, "vfio-noiommu") == 0;
        ret->iommu = !ret->noiommu;
    }
    return true;
}

static unsigned find_nics(const struct machine *m, struct nic_found *ret, unsigned max)
{
    static char names[LISTED][MACHINE_NAME];
    unsigned n = machine_names(m, names, LISTED, "/sys/bus/pci/devices"), found = 0;
    for (unsigned i = 0; i < n && found < max; i++)
        if (machine_number(m, 0, "/sys/bus/pci/devices/%s/class", names[i]) >> 16 == 0x02)
            found += find_nic(m, names[i], &ret[found]);
    return found;
}

/* What there is, for who named something else. */
static const char *nics_text(struct doctor *d)
{
    static struct nic_found nics[LISTED];
    static char text[DOCTOR_TEXT];
    unsigned n = find_nics(&d->machine, nics, LISTED);
    snprintf(text, sizeof(text), "%s", n == 0 ? "there is no PCI NIC" : "there are");
    for (unsigned i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s %s (%s%s%s%s)", i > 0 ? "," : "", nics[i].address,
                 nics[i].driver[0] != 0 ? nics[i].driver : "no driver", nics[i].interface[0] != 0 ? ", " : "", nics[i].interface,
                 nics[i].is_way_in ? ", default route" : "");
    return text;
}

/* ---- DPDK's driver ------------------------------------------------------------------------------------------------------- */

/* Debian has a package for each driver; DPDK loads what is in its directory. */
static void look_at_pmd(struct doctor *d, const char *pmd)
{
    static char libs[LISTED][MACHINE_NAME];
    char versions[8][MACHINE_NAME], package[MACHINE_NAME];
    unsigned n = machine_names(&d->machine, libs, LISTED, "/usr/lib");
    for (unsigned i = 0; i < n; i++) {
        if (strstr(libs[i], "-linux-gnu") == NULL || machine_names(&d->machine, versions, 8, "/usr/lib/%s/dpdk", libs[i]) == 0)
            continue;
        if (machine_has(&d->machine, "/usr/lib/%s/dpdk/%s/librte_net_%s.so", libs[i], versions[0], pmd) ||
            machine_has(&d->machine, "/usr/lib/%s/dpdk/%s/librte_net_%s.so.%s", libs[i], versions[0], pmd, versions[0] + strcspn(versions[0], "-") + 1)) {
            doctor_good(d, "driver", "DPDK has net_%s", pmd);
            return;
        }
        snprintf(package, sizeof(package), "librte-net-%s%d", pmd, atoi(versions[0] + strcspn(versions[0], "0123456789")));
        for (char *c = package; *c != 0; c++)
            *c = *c == '_' ? '-' : *c;
        doctor_lacks(d, NEEDED, "driver", doctor_line(d, "sudo apt install %s", package), "DPDK has no net_%s here", pmd);
        return;
    }
}

/* ---- the service -------------------------------------------------------------------------------------------------------- */

/* The unit gives no capability; what this kind of port needs is in a drop-in. */
static void look_at_drop_in(struct doctor *d, const char *kind)
{
    if (!d->has_unit)
        return;
    if (machine_has(&d->machine, "/etc/systemd/system/tidemark.service.d/%s.conf", kind))
        doctor_good(d, "drop-in", "%s.conf", kind);
    else
        doctor_lacks(d, NEEDED, "drop-in",
                     doctor_line(d, "sudo install -D -m 644 %s/tidemark/tidemark.service.d/%s.conf /etc/systemd/system/tidemark.service.d/%s.conf && sudo systemctl daemon-reload",
                                 TIDEMARK_DATA, kind, kind),
                     "the service has not what a port of this kind needs: no tidemark.service.d/%s.conf", kind);
}

/* ---- a NIC ------------------------------------------------------------------------------------------------------------------ */

static void look_beside_kernel(struct doctor *d, const struct nic_found *n)
{
    if (strcmp(n->driver, n->family->kernel) != 0) {
        doctor_harms(d, NEEDED, "binding", doctor_line(d, "echo %s | sudo tee /sys/bus/pci/devices/%s/driver/unbind; echo | sudo tee /sys/bus/pci/devices/%s/driver_override; echo %s | sudo tee /sys/bus/pci/drivers_probe",
                                                       n->address, n->address, n->address, n->address),
                     "%s has the driver %s; DPDK's net_%s works through the kernel's %s", n->address, n->driver[0] != 0 ? n->driver : "none", n->family->pmd, n->family->kernel);
        return;
    }
    doctor_good(d, "binding", "%s stays with %s", n->address, n->driver);
    if (machine_has(&d->machine, "/sys/class/infiniband_verbs"))
        doctor_good(d, "verbs", "the kernel offers them");
    else
        doctor_lacks(d, NEEDED, "verbs", "sudo apt install rdma-core ibverbs-providers && sudo modprobe -a ib_uverbs mlx5_ib", "DPDK's net_%s works through the kernel's verbs", n->family->pmd);
}

static bool is_virtual_machine(const struct doctor *d)
{
    FILE *f = machine_open(&d->machine, "/proc/cpuinfo");
    char line[4096];
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strncmp(line, "flags", 5) == 0 && strstr(line, " hypervisor") != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

static void look_at_iommu(struct doctor *d, const struct nic_found *n)
{
    char line[2048];
    (void)machine_line(&d->machine, line, sizeof(line), "/proc/cmdline");
    if (n->iommu)
        doctor_good(d, "iommu", "%s is behind one", n->address);
    else if (n->noiommu)
        doctor_lacks(d, ADVICE, "iommu", "# an IOMMU, if the host can offer one", "none: the NIC, and who may open it, can reach all memory");
    else if (strstr(line, "iommu=on") != NULL)
        doctor_lacks(d, NEEDED, "iommu", is_virtual_machine(d) ? doctor_host_setup(d, " --noiommu --apply") : "# switch VT-d or AMD-Vi on in the firmware",
                     "asked for on the kernel's command line, and none is there");
    else
        doctor_lacks(d, NEEDED, "iommu",
                     is_virtual_machine(d) ? doctor_host_setup(d, " --noiommu --apply  # this is a virtual machine; better: a host that offers an IOMMU")
                                           : "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on amd_iommu=on iommu=pt /' /etc/default/grub && sudo update-grub && sudo reboot",
                     "none for %s: vfio-pci wants one", n->address);
}

static void look_at_binding(struct doctor *d, const struct nic_found *n)
{
    if (strcmp(n->driver, "vfio-pci") == 0)
        doctor_good(d, "binding", "%s is bound to vfio-pci", n->address);
    else if (strcmp(n->driver, "igb_uio") == 0 || strcmp(n->driver, "uio_pci_generic") == 0)
        doctor_lacks(d, ADVICE, "binding", doctor_host_setup(d, " --apply"), "%s is bound to %s: without an IOMMU, and as root only", n->address, n->driver);
    else if (n->is_way_in)
        doctor_harms(d, NEEDED, "binding", doctor_line(d, "sudoedit %s  # data.ports: another NIC", d->config),
                     "%s is %s, which carries the default route: this machine would be cut off; %s", n->address, n->interface, nics_text(d));
    else
        doctor_lacks(d, NEEDED, "binding", doctor_host_setup(d, " --apply"), "%s has the driver %s; the broker takes it by vfio-pci", n->address,
                     n->driver[0] != 0 ? n->driver : "none");
}

/* Without it the NIC neither spreads flows nor looks at checksums, and DPDK's driver does not start. */
static void look_at_ddp(struct doctor *d)
{
    if (machine_has(&d->machine, "/lib/firmware/intel/ice/ddp/ice.pkg") || machine_has(&d->machine, "/lib/firmware/updates/intel/ice/ddp/ice.pkg"))
        doctor_good(d, "ddp package", "ice.pkg");
    else
        doctor_lacks(d, NEEDED, "ddp package", "sudo apt install firmware-misc-nonfree", "no /lib/firmware/intel/ice/ddp/ice.pkg, which an E800 NIC is loaded with");
}

static void look_at_pci(struct doctor *d, const struct port_device *port)
{
    struct nic_found n;
    if (!find_nic(&d->machine, port->name, &n)) {
        doctor_lacks(d, NEEDED, "data.ports", doctor_line(d, "sudoedit %s  # data.ports", d->config), "no PCI device %s; %s", port->name, nics_text(d));
        return;
    }
    if (d->node < 0)
        d->node = n.node;
    if (n.family != NULL)
        look_at_pmd(d, n.family->pmd);
    if (n.family != NULL && n.family->take == BESIDE_KERNEL) {
        look_beside_kernel(d, &n);
        look_at_drop_in(d, "mlx5"); /* and mlx4 */
        return;
    }
    if (n.family != NULL && strcmp(n.family->pmd, "ice") == 0)
        look_at_ddp(d);
    look_at_iommu(d, &n);
    look_at_binding(d, &n);
    look_at_drop_in(d, n.noiommu ? "vfio-noiommu" : "vfio");
}

/* ---- a virtual port ----------------------------------------------------------------------------------------------------------- */

static unsigned count_queues(const struct doctor *d, const char *interface)
{
    static char names[LISTED][MACHINE_NAME];
    unsigned n = machine_names(&d->machine, names, LISTED, "/sys/class/net/%s/queues", interface), rx = 0;
    for (unsigned i = 0; i < n; i++)
        rx += strncmp(names[i], "rx-", 3) == 0;
    return rx;
}

static void look_at_mtu(struct doctor *d, const struct port_device *p, bool xdp)
{
    long mtu = machine_number(&d->machine, 0, "/sys/class/net/%s/mtu", p->interface), most = xdp ? PORT_AF_XDP_MTU_MAX : PACKET_MTU_MAX;
    if (d->settings.data_mtu > most)
        doctor_harms(d, NEEDED, "mtu", doctor_line(d, "sudo sed -i s/^data.mtu=.*/data.mtu=%ld/ %s", most, d->config), "data.mtu=%d, and %s carries %ld", (int)d->settings.data_mtu, p->name, most);
    else if (mtu < d->settings.data_mtu)
        doctor_lacks(d, NEEDED, "mtu", doctor_line(d, "sudo ip link set %s mtu %d", p->interface, (int)d->settings.data_mtu), "%s carries %ld bytes, data.mtu is %d",
                     p->interface, mtu, (int)d->settings.data_mtu);
    else
        doctor_good(d, "mtu", "data.mtu=%d, %s carries %ld", (int)d->settings.data_mtu, p->interface, mtu);
}

/* A switch of the kernel's network stack: ETHTOOL_G... -1: not to be seen. */
static int is_on(const struct doctor *d, const char *interface, uint32_t which)
{
    struct ethtool_value v = {.cmd = which};
    struct ifreq r = {.ifr_data = (char *)&v};
    int fd = d->live ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    int result = -1;
    if (fd < 0)
        return -1;
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", interface);
    if (ioctl(fd, SIOCETHTOOL, &r) == 0)
        result = v.data != 0;
    close(fd);
    return result;
}

static bool find_peer(const struct doctor *d, long index, char *ret)
{
    static char names[LISTED][MACHINE_NAME];
    unsigned n = machine_names(&d->machine, names, LISTED, "/sys/class/net");
    for (unsigned i = 0; i < n; i++)
        if (machine_number(&d->machine, -1, "/sys/class/net/%s/ifindex", names[i]) == index) {
            memcpy(ret, names[i], MACHINE_NAME);
            return true;
        }
    return false;
}

/* What comes out of a veth was sent by a kernel: the sums are there only if it was told to. */
static void look_at_sender(struct doctor *d, const struct port_device *p)
{
    long index = machine_number(&d->machine, 0, "/sys/class/net/%s/ifindex", p->interface);
    long peer = machine_number(&d->machine, index, "/sys/class/net/%s/iflink", p->interface);
    char name[MACHINE_NAME];
    if (peer == index || machine_has(&d->machine, "/sys/class/net/%s/device", p->interface))
        return;
    if (!find_peer(d, peer, name))
        doctor_lacks(d, ADVICE, "sender", "# on the other end of it: ethtool -K ITS_DEVICE tx off", "%s is a veth, whose other end cannot be seen from here: it must not leave checksums open (rx_csum_partial counts)", p->interface);
    else if (is_on(d, name, ETHTOOL_GTXCSUM) == 0)
        doctor_good(d, "sender", "%s, the other end of %s, sends whole checksums", name, p->interface);
    else
        doctor_harms(d, ADVICE, "sender", doctor_line(d, "sudo ethtool -K %s tx off", name), "%s, the other end of %s, leaves checksums open: the broker drops its frames", name, p->interface);
}

/* What the kernel joins to frames of 64 KiB before AF_PACKET sees it does not fit into its slots. */
static void look_at_joining(struct doctor *d, const struct port_device *p)
{
    if (is_on(d, p->interface, ETHTOOL_GGRO) == 1)
        doctor_harms(d, ADVICE, "joining", doctor_line(d, "sudo ethtool -K %s gro off lro off", p->interface),
                     "the kernel joins what comes in on %s (GRO): what is longer than a frame is cut off", p->interface);
}

static void look_at_xdp(struct doctor *d, const struct port_device *p)
{
    unsigned queues = count_queues(d, p->interface), cores = (unsigned)d->settings.data_core_count;
    int fd = d->live ? socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0) : -1;
    if (d->live && fd < 0 && errno == EAFNOSUPPORT)
        doctor_lacks(d, NEEDED, "af_xdp", doctor_line(d, "sudo sed -i s/net_af_xdp/net_af_packet/ %s", d->config), "this kernel has no AF_XDP");
    if (fd >= 0)
        close(fd);
    if (is_way_in(&d->machine, p->interface) && !d->settings.data_port_shared && !d->settings.data_port_take_default_route)
        doctor_harms(d, NEEDED, "port", doctor_line(d, "sudoedit %s  # data.ports: another interface; or data.port.shared=true", d->config),
                     "%s carries the default route, and AF_XDP takes every frame: this machine would be cut off", p->interface);
    if (queues > cores)
        doctor_harms(d, NEEDED, "queues", doctor_line(d, "sudo ethtool -L %s combined %u", p->interface, cores), "%s has %u receive queues for %u data cores: what comes in on the others is lost", p->interface, queues, cores);
}

static void look_at_vdev(struct doctor *d, const struct port_device *p)
{
    char pmd[PORT_NAME], state[32];
    bool xdp = strncmp(p->name, "net_af_xdp", 10) == 0;
    snprintf(pmd, sizeof(pmd), "%s", p->name + (strncmp(p->name, "net_", 4) == 0 ? 4 : 0));
    pmd[strcspn(pmd, "0123456789")] = 0;
    look_at_pmd(d, pmd);
    if (strcmp(pmd, "af_xdp") == 0 || strcmp(pmd, "af_packet") == 0)
        look_at_drop_in(d, pmd);
    if (p->interface[0] == 0)
        return;
    if (!machine_has(&d->machine, "/sys/class/net/%s", p->interface)) {
        doctor_lacks(d, NEEDED, "data.ports", doctor_line(d, "sudoedit %s  # data.ports: iface=; ip link lists them", d->config), "there is no interface %s; %s", p->interface, nics_text(d));
        return;
    }
    d->node = (int)machine_number(&d->machine, d->node, "/sys/class/net/%s/device/numa_node", p->interface);
    if (machine_line(&d->machine, state, sizeof(state), "/sys/class/net/%s/operstate", p->interface) && strcmp(state, "up") != 0 && strcmp(state, "unknown") != 0)
        doctor_lacks(d, NEEDED, "link", doctor_line(d, "sudo ip link set %s up", p->interface), "%s is %s", p->interface, state);
    else
        doctor_good(d, "link", "%s is up", p->interface);
    if (xdp)
        look_at_xdp(d, p);
    else if (strncmp(p->name, "net_af_packet", 13) == 0)
        look_at_joining(d, p);
    look_at_mtu(d, p, xdp);
    look_at_sender(d, p);
}

void doctor_look_at_ports(struct doctor *d)
{
    if (d->configured && d->port_count == 0)
        doctor_lacks(d, NEEDED, "data.ports", doctor_line(d, "sudoedit %s  # data.ports", d->config), "no port is named; %s", nics_text(d));
    if (!d->configured)
        doctor_good(d, "nics", "%s", nics_text(d));
    for (unsigned i = 0; i < d->port_count; i++)
        if (d->ports[i].kind == PORT_PCI)
            look_at_pci(d, &d->ports[i]);
        else
            look_at_vdev(d, &d->ports[i]);
}

/* ---- settings for this machine --------------------------------------------------------------------------------------------------- */

enum { WORTH_NOTHING, WORTH_SHARING, WORTH_XDP, WORTH_VFIO, WORTH_BESIDE, WORTH_BOUND };

static int worth(const struct nic_found *n)
{
    if (n->is_way_in)
        return WORTH_SHARING;
    if (strcmp(n->driver, "vfio-pci") == 0)
        return WORTH_BOUND;
    if (n->family != NULL && n->family->take == BESIDE_KERNEL)
        return WORTH_BESIDE;
    if (n->iommu)
        return WORTH_VFIO;
    return n->interface[0] != 0 ? WORTH_XDP : WORTH_NOTHING;
}

static void print_port(FILE *f, const struct nic_found *n)
{
    switch (worth(n)) {
    case WORTH_SHARING:
        fprintf(f, "# The only NIC, which this machine is reached by: the broker listens beside the kernel, slowly. Good for a look.\n"
                   "# The same at the host's own address, without copies: vdev:net_af_xdp0 and data.port.shared=true.\n"
                   "data.ports=vdev:net_af_packet0,iface=%s\n", n->interface);
        break;
    case WORTH_XDP:
        fprintf(f, "# There is no IOMMU, or it is off: the kernel keeps the NIC, and hands over its frames. With one, data.ports=%s is faster.\n"
                   "data.ports=vdev:net_af_xdp0,iface=%s\n", n->address, n->interface);
        break;
    default:
        fprintf(f, "data.ports=%s\n", n->address);
    }
}

static void print_settings(const struct doctor *d, FILE *f, const struct nic_found *n)
{
    uint32_t address = 0x0a000001;
    unsigned prefix = 24;
    bool known = worth(n) != WORTH_SHARING && n->interface[0] != 0 && machine_address(&d->machine, n->interface, &address, &prefix);
    struct in_addr a = {.s_addr = htonl(address)};
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &a, text, sizeof(text));
    fprintf(f, "# Settings for this machine; %s/tidemark/tidemark.conf explains every line.\nnode.id=1\nlog.dirs=/var/lib/tidemark\n", TIDEMARK_DATA);
    fprintf(f, "# %s, %s%s%s\n", n->address, n->driver[0] != 0 ? n->driver : "no driver", n->interface[0] != 0 ? ", " : "", n->interface);
    print_port(f, n);
    fprintf(f, "# %s\ndata.address=%s/%u\nlisteners=PLAINTEXT://%s:9092\n", known ? "the address that the kernel has there now"
            : "CHANGE: a free address of the data network, with its prefix length; here and in the next line", text, prefix, text);
    fprintf(f, "core.idle=wait\ncontrol.address=127.0.0.1:9644\n");
}

bool doctor_suggest(struct doctor *d, FILE *f)
{
    static struct nic_found nics[LISTED];
    unsigned n = find_nics(&d->machine, nics, LISTED), best = 0;
    for (unsigned i = 1; i < n; i++)
        if (worth(&nics[i]) > worth(&nics[best]))
            best = i;
    if (n == 0 || worth(&nics[best]) == WORTH_NOTHING) {
        fprintf(f, "# No NIC can be used: %s.\n# For a look at Tidemark without one: config/quickstart.sh\n", nics_text(d));
        return false;
    }
    print_settings(d, f, &nics[best]);
    return true;
}
