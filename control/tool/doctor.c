/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the machine and the settings and says what a broker will find: first what keeps it from starting, in the order in
 * which one would mend it, and at the end the next line to type. Changes nothing.
 */
#include "tool/doctor.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings.h"
#include "tool/tool.h"

/* ---- findings --------------------------------------------------------------------------------------------------------- */

static void leave(struct doctor *d, enum verdict v, enum need need, const char *item, const char *mend, const char *format, va_list args)
{
    struct finding *f;
    if (d->count == FINDINGS_MAX)
        return;
    f = &d->findings[d->count++];
    f->verdict = v;
    f->need = need;
    snprintf(f->item, sizeof(f->item), "%s", item);
    snprintf(f->mend, sizeof(f->mend), "%s", mend != NULL ? mend : "");
    vsnprintf(f->found, sizeof(f->found), format, args);
}

void doctor_good(struct doctor *d, const char *item, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    leave(d, GOOD, ADVICE, item, NULL, format, args);
    va_end(args);
}

void doctor_lacks(struct doctor *d, enum need need, const char *item, const char *mend, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    leave(d, MISSING, need, item, mend, format, args);
    va_end(args);
}

void doctor_harms(struct doctor *d, enum need need, const char *item, const char *mend, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    leave(d, HARMFUL, need, item, mend, format, args);
    va_end(args);
}

const char *doctor_line(struct doctor *d, const char *format, ...)
{
    char *line = d->lines[d->next_line++ % DOCTOR_LINES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, DOCTOR_TEXT, format, args);
    va_end(args);
    return line;
}

const char *doctor_host_setup(struct doctor *d, const char *options)
{
    bool installed = machine_has(&d->machine, "%s/tidemark/host-setup.sh", TIDEMARK_LIBEXEC);
    const char *config = strcmp(d->config, TIDEMARK_CONFIG) == 0 ? "" : doctor_line(d, " --config %s", d->config);
    return doctor_line(d, "sudo %s/host-setup.sh%s%s", installed ? TIDEMARK_LIBEXEC "/tidemark" : "config", config, options);
}

const char *doctor_make_dir(struct doctor *d, const char *dir)
{
    return doctor_line(d, "sudo install -d %s-m 750 %s", d->has_user || d->has_unit ? "-o tidemark -g tidemark " : "", dir);
}

/* ---- the report ------------------------------------------------------------------------------------------------------- */

static const char *const verdict_names[] = {"ok", "missing", "harmful"};

static bool is_serious(const struct finding *f)
{
    return f->verdict == HARMFUL || (f->verdict == MISSING && f->need == NEEDED);
}

static void print_string(const char *text)
{
    putchar('"');
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if ((unsigned char)*text < ' ')
            printf("\\u%04x", *text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_json(const struct doctor *d, const char *next)
{
    printf("{\"findings\": [");
    for (unsigned i = 0; i < d->count; i++) {
        const struct finding *f = &d->findings[i];
        printf("%s\n  {\"item\": ", i == 0 ? "" : ",");
        print_string(f->item);
        printf(", \"verdict\": \"%s\", \"needed\": %s, \"found\": ", verdict_names[f->verdict], f->verdict != GOOD && f->need == NEEDED ? "true" : "false");
        print_string(f->found);
        if (f->mend[0] != 0) {
            printf(", \"mend\": ");
            print_string(f->mend);
        }
        putchar('}');
    }
    printf("\n], \"next\": ");
    print_string(next);
    printf("}\n");
}

static void print_finding(const struct finding *f)
{
    printf("%-8s %-16s %s\n", verdict_names[f->verdict], f->item, f->found);
    if (f->mend[0] != 0)
        printf("%-8s %-16s   -> %s\n", "", "", f->mend);
}

static unsigned print_those(const struct doctor *d, const char *title, bool good, bool serious)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->count; i++) {
        const struct finding *f = &d->findings[i];
        if ((f->verdict == GOOD) != good || is_serious(f) != serious)
            continue;
        if (n++ == 0)
            printf("%s\n", title);
        print_finding(f);
    }
    if (n != 0)
        putchar('\n');
    return n;
}

static void print_text(const struct doctor *d, const char *next)
{
    print_those(d, "As it should be:", true, false);
    print_those(d, "Would be better otherwise:", false, false);
    if (print_those(d, "To be mended, in this order:", false, true) == 0)
        printf("A broker can run here.\n");
    printf("next: %s\n", next);
}

/* The first thing that is in the way, or the start. */
static const char *next_line(struct doctor *d)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->findings[i].verdict != GOOD && d->findings[i].need == NEEDED && d->findings[i].mend[0] != 0)
            return d->findings[i].mend;
    for (unsigned i = 0; i < d->count; i++)
        if (d->findings[i].verdict == HARMFUL && d->findings[i].mend[0] != 0)
            return d->findings[i].mend;
    if (d->running != 0)
        return doctor_line(d, "kcat -L -b %s", d->settings.advertised_listeners[0] != 0 ? d->settings.advertised_listeners : d->settings.listeners);
    if (d->has_unit)
        return "sudo systemctl enable --now tidemark";
    return doctor_line(d, "sudo tidemarkd --config %s", d->config);
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static void split_ports(struct doctor *d)
{
    char text[SETTING_TEXT_MAX], error[256], *save = NULL;
    snprintf(text, sizeof(text), "%s", d->settings.data_ports);
    for (char *p = strtok_r(text, ";", &save); p != NULL && d->port_count < TIDE_PORTS_MAX; p = strtok_r(NULL, ";", &save)) {
        p += strspn(p, " ");
        if (port_device_parse(p, &d->ports[d->port_count], error, sizeof(error)) != TIDE_OK)
            doctor_lacks(d, NEEDED, "settings", doctor_line(d, "sudoedit %s", d->config), "data.ports: %s", error);
        else
            d->pci |= d->ports[d->port_count++].kind == PORT_PCI;
    }
}

static void look_at_settings(struct doctor *d)
{
    char path[MACHINE_PATH], error[SETTINGS_ERROR_MAX];
    snprintf(path, sizeof(path), "%s%s", d->machine.root, d->config);
    settings_defaults(&d->settings);
    if (!machine_has(&d->machine, "%s", d->config)) {
        FILE *nowhere = fopen("/dev/null", "we");
        if (nowhere != NULL && !doctor_suggest(d, nowhere))
            doctor_lacks(d, NEEDED, "settings", "sudo config/quickstart.sh", "there is no %s, and no NIC for it; brokers can be tried in network namespaces", d->config);
        else
            doctor_lacks(d, NEEDED, "settings", doctor_line(d, "tidemark doctor --suggest | sudo tee %s", d->config), "there is no %s", d->config);
        if (nowhere != NULL)
            fclose(nowhere);
        return;
    }
    d->configured = settings_load(path, &d->settings, error, sizeof(error)) == TIDE_OK;
    if (!d->configured) {
        settings_defaults(&d->settings);
        doctor_lacks(d, NEEDED, "settings", doctor_line(d, "sudoedit %s", d->config), "%s", error + (strncmp(error, path, strlen(d->machine.root)) == 0 ? strlen(d->machine.root) : 0));
        return;
    }
    doctor_good(d, "settings", "%s: broker %d, data.ports=%s", d->config, (int)d->settings.node_id, d->settings.data_ports);
    split_ports(d);
    for (uint32_t i = 0; i < d->settings.data_cpu_count; i++)
        CPU_SET(d->settings.data_cpu[i], &d->cores);
}

static int usage(FILE *f, int status)
{
    fputs("tidemark doctor [--config FILE] [--json]      look at this machine; changes nothing\n"
          "tidemark doctor --suggest                     print settings for it\n"
          "\n"
          "  --config FILE   the broker's settings (default " TIDEMARK_CONFIG ")\n"
          "  --root DIR      a described machine: files below DIR, and nothing else is asked\n"
          "\n"
          "Exit status: 0 a broker can run here, and nothing is harmful; 1 otherwise.\n", f);
    return status;
}

static bool examine(struct doctor *d)
{
    bool serious = false;
    d->has_unit = machine_has(&d->machine, "%s/tidemark.service", TIDEMARK_UNITS);
    look_at_settings(d);
    d->running = machine_process(&d->machine, "tidemarkd");
    doctor_look_at_system(d);
    doctor_look_at_ports(d);
    doctor_look_at_memory(d);
    doctor_look_at_disks(d);
    doctor_look_at_limits(d);
    doctor_look_at_network(d);
    doctor_look_at_cores(d);
    for (unsigned i = 0; i < d->count; i++)
        serious |= is_serious(&d->findings[i]);
    return !serious;
}

int tool_doctor(int argc, char **argv)
{
    static const struct option names[] = {{"json", no_argument, NULL, 'j'}, {"config", required_argument, NULL, 'c'}, {"root", required_argument, NULL, 'r'},
                                          {"suggest", no_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    static struct doctor d = {.machine = {.root = ""}, .config = TIDEMARK_CONFIG, .node = -1};
    bool json = false, suggest = false, good;
    int c;
    while ((c = getopt_long(argc, argv, "jc:r:sh", names, NULL)) != -1) {
        switch (c) {
        case 'j': json = true; break;
        case 'c': d.config = optarg; break;
        case 'r': d.machine.root = optarg; break;
        case 's': suggest = true; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (optind != argc)
        return usage(stderr, 2);
    d.live = d.machine.root[0] == 0;
    if (suggest)
        return !doctor_suggest(&d, stdout);
    good = examine(&d);
    if (json)
        print_json(&d, next_line(&d));
    else
        print_text(&d, next_line(&d));
    return !good;
}
