/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/capture_page.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "nic/tap.h"

enum { SNAP_DEFAULT = 2048 };

/* A.B.C.D, A.B.C.D:PORT, IPv6 or [IPv6]:PORT. */
static bool parse_conn(const char *text, struct tap_wish *w)
{
    char host[64];
    const char *port = NULL;
    struct in_addr a;
    bool brackets = text[0] == '[';
    snprintf(host, sizeof(host), "%s", brackets ? text + 1 : text);
    if (brackets) {
        char *end = strchr(host, ']');
        if (end == NULL || (end[1] != 0 && end[1] != ':'))
            return false;
        port = end[1] == ':' ? end + 2 : NULL;
        *end = 0;
    } else if (strchr(host, ':') != NULL && strchr(host, ':') == strrchr(host, ':')) {
        char *colon = strchr(host, ':');
        *colon = 0;
        port = colon + 1;
    }
    if (port != NULL) {
        char *end;
        unsigned long n = strtoul(port, &end, 10);
        if (*end != 0 || n == 0 || n > UINT16_MAX)
            return false;
        w->port = (uint16_t)n;
    }
    w->one_conn = true;
    if (inet_pton(AF_INET, host, &a) == 1)
        w->addr = tide_addr_v4(ntohl(a.s_addr));
    else if (inet_pton(AF_INET6, host, w->addr.bytes) != 1)
        return false;
    return true;
}

static int say(char **ret, size_t *ret_len, int status, const char *text)
{
    *ret = strdup(text);
    *ret_len = strlen(text);
    return status;
}

static bool read_wish(const struct http_query *q, struct tap_wish *ret)
{
    const char *snap = http_query(q, "snap"), *conn = http_query(q, "conn");
    *ret = (struct tap_wish){.snap = SNAP_DEFAULT};
    if (snap != NULL) {
        char *end;
        unsigned long n = strtoul(snap, &end, 10);
        if (*end != 0 || n < 64 || n > TAP_SNAP_MAX)
            return false;
        ret->snap = (uint32_t)n;
    }
    return conn == NULL || parse_conn(conn, ret);
}

int capture_take(void *arg, const struct http_query *q, char **ret_bytes, size_t *ret_len)
{
    struct world *w = arg;
    const char *id_text = http_query(q, "id");
    uint64_t id = id_text != NULL ? strtoull(id_text, NULL, 10) : 0;
    struct tap_wish wish;
    FILE *f;
    if (id == 0 || (w->capture_id != 0 && w->capture_id != id))
        return say(ret_bytes, ret_len, id == 0 ? 400 : 409, id == 0 ? "an id is missing\n" : "another capture is running\n");
    if (w->capture_id == 0 && !read_wish(q, &wish))
        return say(ret_bytes, ret_len, 400, "snap is 64 to 65535 bytes, conn is ADDRESS or ADDRESS:PORT\n");
    f = open_memstream(ret_bytes, ret_len);
    if (f == NULL)
        return 500;
    if (w->capture_id == 0) {
        enum tide_status s = nic_capture_begin(w->nic, &wish, f);
        if (s != TIDE_OK) {
            fclose(f);
            free(*ret_bytes);
            return say(ret_bytes, ret_len, 503, s == TIDE_EXISTS ? "the last capture has not ended yet\n" : "no memory\n");
        }
        control_log("a capture has begun");
        w->capture_id = id;
    } else {
        nic_capture_take(w->nic, f);
    }
    w->capture_ns = loop_now_ns();
    if (http_query(q, "end") != NULL)
        capture_on_time(w, UINT64_MAX);
    return fclose(f) == 0 ? 200 : 500;
}

void capture_on_time(struct world *w, uint64_t now_ns)
{
    if (w->capture_id == 0 || now_ns < w->capture_ns + CAPTURE_PATIENCE_NS)
        return;
    nic_capture_end(w->nic);
    w->capture_id = 0;
    control_log("the capture has ended");
}
