/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a data core shares with others. With core.idle=wait it may share all of it.
 */
#include <stdlib.h>
#include <string.h>

#include "tool/doctor.h"

enum { NAMES = 4096, KERNEL_THREAD = 0x00200000 };

static bool spins(const struct doctor *d)
{
    return d->settings.core_idle == CORE_IDLE_SPIN;
}

static bool read_cpus(const struct doctor *d, const char *file, cpu_set_t *ret)
{
    char text[1024];
    CPU_ZERO(ret);
    return machine_line(&d->machine, text, sizeof(text), "%s", file) && cpus_parse(text, ret);
}

static void look_at_count(struct doctor *d)
{
    cpu_set_t online, gone;
    int cpus, cores = (int)d->settings.data_core_count;
    char text[256];
    if (!read_cpus(d, "/sys/devices/system/cpu/online", &online))
        return;
    cpus = CPU_COUNT(&online);
    CPU_AND(&gone, &d->cores, &online);
    CPU_XOR(&gone, &gone, &d->cores);
    cpus_text(&gone, text, sizeof(text));
    if (CPU_COUNT(&gone) != 0)
        doctor_lacks(d, NEEDED, "data.cores", doctor_line(d, "sudoedit %s", d->config), "no such CPU here: %s", text);
    else if (spins(d) && cores >= cpus)
        doctor_harms(d, ADVICE, "cpus", doctor_line(d, "sudo sed -i s/^core.idle=.*/core.idle=wait/ %s", d->config),
                     "%d cores that spin on %d CPUs: the drives' work waits for milliseconds", cores, cpus);
    else
        doctor_good(d, "cpus", "%d, of which %d for data cores%s", cpus, cores, spins(d) ? " that spin" : " that wait and share");
}

static void look_at_isolation(struct doctor *d)
{
    cpu_set_t isolated, both;
    char text[256];
    (void)read_cpus(d, "/sys/devices/system/cpu/isolated", &isolated);
    CPU_AND(&both, &isolated, &d->cores);
    cpus_text(&d->cores, text, sizeof(text));
    if (CPU_EQUAL(&both, &d->cores))
        doctor_good(d, "isolated cores", "%s", text);
    else
        doctor_lacks(d, ADVICE, "isolated cores", doctor_line(d, "# boot with isolcpus=managed_irq,domain,%s nohz_full=%s rcu_nocbs=%s", text, text, text),
                     "others may run on %s", text);
}

/* User processes that ran last on a data core. */
static void look_at_guests(struct doctor *d)
{
    static char names[NAMES][MACHINE_NAME];
    unsigned n = machine_names(&d->machine, names, NAMES, "/proc"), found = 0;
    char line[1024], who[128] = "";
    for (unsigned i = 0; i < n; i++) {
        char comm[32];
        unsigned flags = 0, cpu = CPU_SETSIZE;
        const char *rest;
        if (names[i][0] < '1' || names[i][0] > '9' || !machine_line(&d->machine, line, sizeof(line), "/proc/%s/stat", names[i]) ||
            (rest = strrchr(line, ')')) == NULL || sscanf(line, "%*d (%31[^)]", comm) != 1)
            continue;
        /* from field 3 on: flags are field 9, the processor field 39 */
        (void)sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u "
                     "%*u %*u %*u %*u %*u %*d %u", &flags, &cpu);
        if (flags & KERNEL_THREAD || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &d->cores) || strcmp(comm, "tidemarkd") == 0)
            continue;
        if (found++ < 4)
            snprintf(who + strlen(who), sizeof(who) - strlen(who), "%s%s", found > 1 ? ", " : "", comm);
    }
    if (found == 0)
        doctor_good(d, "guests", "no process of others ran last on a data core");
    else
        doctor_lacks(d, ADVICE, "guests", "# isolate the cores (above), or systemd's CPUAffinity= for all others", "%u processes ran last on a data core: %s%s", found, who,
                     found > 4 ? ", ..." : "");
}

static void look_at_irqs(struct doctor *d)
{
    static char names[NAMES][MACHINE_NAME];
    unsigned n = machine_names(&d->machine, names, NAMES, "/proc/irq"), found = 0;
    for (unsigned i = 0; i < n; i++) {
        cpu_set_t at, both;
        char text[1024];
        if (!machine_line(&d->machine, text, sizeof(text), "/proc/irq/%s/effective_affinity_list", names[i]) &&
            !machine_line(&d->machine, text, sizeof(text), "/proc/irq/%s/smp_affinity_list", names[i]))
            continue;
        if (!cpus_parse(text, &at))
            continue;
        CPU_AND(&both, &at, &d->cores);
        found += CPU_COUNT(&both) != 0;
    }
    if (found == 0)
        doctor_good(d, "interrupts", "none goes to a data core");
    else
        doctor_lacks(d, ADVICE, "interrupts", doctor_host_setup(d, " --apply"), "%u go to data cores", found);
}

static void look_at_governor(struct doctor *d, unsigned cpu)
{
    char text[64];
    long no_turbo = machine_number(&d->machine, -1, "/sys/devices/system/cpu/intel_pstate/no_turbo");
    if (!machine_line(&d->machine, text, sizeof(text), "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_governor", cpu))
        doctor_good(d, "governor", "clocks are not under our control");
    else if (strcmp(text, "performance") == 0)
        doctor_good(d, "governor", "performance");
    else if (spins(d))
        doctor_harms(d, ADVICE, "governor", doctor_host_setup(d, " --apply"), "%s: a data core clocks down", text);
    else
        doctor_lacks(d, ADVICE, "governor", "sudo cpupower frequency-set -g performance", "%s", text);
    if (no_turbo < 0)
        no_turbo = 1 - machine_number(&d->machine, 1, "/sys/devices/system/cpu/cpufreq/boost");
    if (no_turbo == 1)
        doctor_lacks(d, ADVICE, "turbo", "# on in the firmware, unless steady clocks matter more", "off");
}

static void look_at_idle_states(struct doctor *d, unsigned cpu)
{
    long worst = 0;
    for (unsigned i = 0; i < 16; i++)
        if (machine_number(&d->machine, 1, "/sys/devices/system/cpu/cpu%u/cpuidle/state%u/disable", cpu, i) == 0) {
            long us = machine_number(&d->machine, 0, "/sys/devices/system/cpu/cpu%u/cpuidle/state%u/latency", cpu, i);
            worst = us > worst ? us : worst;
        }
    if (worst > 50)
        doctor_lacks(d, ADVICE, "idle states", spins(d) ? "# nothing for cores that spin; for the others: cpupower idle-set -D 50" : "sudo cpupower idle-set -D 50",
                     "a CPU may need %ld us to wake", worst);
    else
        doctor_good(d, "idle states", "a CPU wakes within %ld us", worst);
}

static void look_at_siblings(struct doctor *d)
{
    for (unsigned c = 0; c < CPU_SETSIZE; c++) {
        char text[256], file[128];
        cpu_set_t siblings, ours, isolated;
        if (!CPU_ISSET(c, &d->cores))
            continue;
        snprintf(file, sizeof(file), "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", c);
        if (!read_cpus(d, file, &siblings) || CPU_COUNT(&siblings) < 2)
            continue;
        cpus_text(&siblings, text, sizeof(text));
        CPU_AND(&ours, &siblings, &d->cores);
        (void)read_cpus(d, "/sys/devices/system/cpu/isolated", &isolated);
        CPU_AND(&isolated, &isolated, &siblings);
        if (CPU_COUNT(&ours) > 1)
            doctor_harms(d, ADVICE, "siblings", doctor_line(d, "sudoedit %s  # data.cores on cores of their own", d->config), "%s are one core: two data cores halve each other", text);
        else if (CPU_COUNT(&isolated) < CPU_COUNT(&siblings))
            doctor_lacks(d, ADVICE, "siblings", "# isolate them as well, or switch them off", "%s are one core, and only %u is the broker's", text, c);
        else
            continue;
        return;
    }
    doctor_good(d, "siblings", "no data core shares its core");
}

static void look_at_nodes(struct doctor *d)
{
    for (unsigned c = 0; d->node >= 0 && c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, &d->cores) && !machine_has(&d->machine, "/sys/devices/system/cpu/cpu%u/node%d", c, d->node)) {
            char text[256] = "";
            (void)machine_line(&d->machine, text, sizeof(text), "/sys/devices/system/node/node%d/cpulist", d->node);
            doctor_lacks(d, ADVICE, "numa", doctor_line(d, "sudoedit %s  # data.cores out of %s", d->config, text), "CPU %u is not on node %d, where the port is", c, d->node);
            return;
        }
}

static void look_at_clock(struct doctor *d)
{
    char text[64];
    if (!machine_line(&d->machine, text, sizeof(text), "/sys/devices/system/clocksource/clocksource0/current_clocksource"))
        return;
    if (strcmp(text, "tsc") == 0 || strcmp(text, "kvm-clock") == 0 || strcmp(text, "arch_sys_counter") == 0)
        doctor_good(d, "clock source", "%s", text);
    else
        doctor_lacks(d, ADVICE, "clock source", "# boot with tsc=reliable if dmesg does not say that the TSC is unstable", "%s: each look at the clock enters the kernel", text);
}

void doctor_look_at_cores(struct doctor *d)
{
    unsigned first = 0;
    look_at_count(d);
    look_at_clock(d);
    while (first < CPU_SETSIZE && !CPU_ISSET(first, &d->cores))
        first++;
    look_at_governor(d, first < CPU_SETSIZE ? first : 0);
    look_at_idle_states(d, first < CPU_SETSIZE ? first : 0);
    if (spins(d) && first == CPU_SETSIZE)
        doctor_lacks(d, ADVICE, "data.cores", doctor_line(d, "sudoedit %s  # data.cores=...", d->config), "cores that spin and float: name their CPUs, so that they can be kept free");
    if (first == CPU_SETSIZE)
        return;
    look_at_nodes(d);
    if (!spins(d))
        return;
    look_at_isolation(d);
    look_at_guests(d);
    look_at_irqs(d);
    look_at_siblings(d);
}
