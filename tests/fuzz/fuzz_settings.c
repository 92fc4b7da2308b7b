/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a settings file; then its first lines again, each as a broker's and as a topic's. What
 * is taken can be printed and read again; what is refused has a sentence.
 */
#include <stdlib.h>
#include <string.h>

#include "settings/settings.h"
#include "tidemark/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct tide_settings settings, again;
static struct tide_topic_config topic;
static char error[SETTINGS_ERROR_MAX];

static void one_line(const char *name, const char *value)
{
    error[0] = 0;
    TIDE_ASSERT((settings_set(&settings, name, value, error, sizeof(error)) == TIDE_OK) == (error[0] == 0));
    error[0] = 0;
    TIDE_ASSERT((settings_set_topic(&topic, name, value, error, sizeof(error)) == TIDE_OK) == (error[0] == 0));
}

static void lines(char *text)
{
    enum { MOST = 8 };
    char *save = NULL;
    unsigned count = 0;
    for (char *line = strtok_r(text, "\n", &save); line != NULL && count < MOST; line = strtok_r(NULL, "\n", &save)) {
        char *equals = strchr(line, '=');
        if (equals == NULL)
            continue;
        *equals = 0;
        count++;
        /* Blocks of their own, so that an over-read is seen. */
        char *name = strdup(line);
        char *value = strdup(equals + 1);
        TIDE_ASSERT(name != NULL && value != NULL);
        one_line(name, value);
        free(name);
        free(value);
    }
}

static void print_and_read_again(void)
{
    char text[SETTING_TEXT_MAX];
    settings_defaults(&again);
    for (unsigned i = 0; i < setting_row_count; i++) {
        settings_text(&settings, &setting_rows[i], text, sizeof(text));
        TIDE_ASSERT(settings_set(&again, setting_rows[i].name, text, error, sizeof(error)) == TIDE_OK);
        if (setting_rows[i].topic_name != NULL)
            settings_topic_text(&topic, &setting_rows[i], text, sizeof(text));
    }
}

static void whole(const char *text, size_t len)
{
    int line = -1;
    error[0] = 0;
    if (settings_parse(text, len, &settings, &line, error, sizeof(error)) != TIDE_OK) {
        TIDE_ASSERT(error[0] != 0 && line >= 0);
        return;
    }
    print_and_read_again();
    TIDE_ASSERT(settings.listener_count >= 1 && settings.listener_count <= SETTINGS_LISTENERS_MAX);
    for (uint32_t i = 0; i < settings.listener_count; i++)
        TIDE_ASSERT(settings.listener[i].name[0] != 0 && settings.listener[i].port != 0 && settings.listener[i].advertised_port != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *text = malloc(len + 1);
    TIDE_ASSERT(text != NULL);
    if (len != 0)
        memcpy(text, bytes, len);
    text[len] = 0;
    whole(text, len);
    settings_defaults(&settings);
    settings_topic_defaults(&settings, &topic);
    lines(text);
    free(text);
    return 0;
}
