/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/boot.h"
#include "settings/settings.h"

static int usage(FILE *f, int status)
{
    fputs("tidemarkd: a replicated log broker that speaks the Kafka protocol\n"
          "\n"
          "  tidemarkd --config FILE            run the broker with these settings\n"
          "  tidemarkd --config FILE --check    read and check the settings, then exit\n"
          "  tidemarkd --config FILE --release  take off the ports what a killed broker left there, then exit\n"
          "  tidemarkd --settings               print every setting, as a Markdown table\n"
          "  tidemarkd --version\n"
          "  tidemarkd --help\n", f);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'}, {"release", no_argument, NULL, 'r'}, {"settings", no_argument, NULL, 's'},
        {"version", no_argument, NULL, 'v'},      {"help", no_argument, NULL, 'h'},  {0}};
    static struct tide_settings settings;
    char error[SETTINGS_ERROR_MAX];
    const char *config = NULL;
    bool check = false, release = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'k':
            check = true;
            break;
        case 'r':
            release = true;
            break;
        case 's':
            settings_print_reference(stdout);
            return EXIT_SUCCESS;
        case 'v':
            puts("tidemarkd " TIDEMARK_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            return usage(stdout, EXIT_SUCCESS);
        default:
            return usage(stderr, EXIT_FAILURE);
        }
    }
    if (config == NULL || optind != argc)
        return usage(stderr, EXIT_FAILURE);
    if (settings_load(config, &settings, error, sizeof(error)) != TIDE_OK) {
        fprintf(stderr, "tidemarkd: %s\n", error);
        return EXIT_FAILURE;
    }
    if (check) {
        printf("%s: good\n", config);
        return EXIT_SUCCESS;
    }
    return release ? boot_release(&settings) : boot_run(&settings);
}
