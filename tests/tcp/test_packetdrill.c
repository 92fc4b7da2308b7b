/* SPDX-License-Identifier: Apache-2.0 */
/* The object for packetdrill, loaded as packetdrill would: a handshake, data both ways, a close. */
#include "packetdrill.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static struct packetdrill_interface ifc;
static uint32_t theirs = 1000, ours;

#define MUST(x) ((x) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #x), exit(1)))

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint16_t sum(const uint8_t *p, size_t n, uint32_t start)
{
    uint32_t s = start;
    for (size_t i = 0; i < n; i += 2)
        s += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}

static void send_packet(uint8_t flags, const char *data)
{
    uint8_t p[200] = {0x45};
    size_t len = 40 + strlen(data);
    uint16_t s;
    p[3] = (uint8_t)len;
    p[8] = 64;
    p[9] = 6;
    memcpy(p + 12, "\xc0\xa8\x00\x02\xc0\xa8\x00\x01", 8);
    p[20] = 0x9c, p[21] = 0x40; /* 40000 */
    p[22] = 0x1f, p[23] = 0x90; /* 8080 */
    put32(p + 24, theirs);
    put32(p + 28, flags & ACK ? ours : 0);
    p[32] = 0x50;
    p[33] = flags;
    p[34] = 0xff;
    memcpy(p + 40, data, len - 40);
    s = sum(p + 12, 8, 6 + (uint32_t)(len - 20));
    s = sum(p + 20, len - 20, (uint16_t)~s);
    p[36] = (uint8_t)(s >> 8), p[37] = (uint8_t)s;
    theirs += (uint32_t)(len - 40) + !!(flags & SYN) + !!(flags & FIN);
    MUST(ifc.netdev_send(ifc.userdata, p, len) == 0);
}

static size_t receive(uint8_t flags, char *data)
{
    uint8_t p[2000];
    size_t n = sizeof(p), header;
    long long at;
    MUST(ifc.netdev_receive(ifc.userdata, p, &n, &at) == 0 && n >= 40);
    MUST(sum(p, 20, 0) == 0);
    header = 20 + (p[32] >> 4) * 4u;
    MUST(p[33] == flags);
    if (flags & SYN)
        ours = get32(p + 24);
    MUST(get32(p + 24) == ours && get32(p + 28) == theirs);
    memcpy(data, p + header, n - header);
    ours += (uint32_t)(n - header) + !!(flags & SYN) + !!(flags & FIN);
    return n - header;
}

int main(int argc, char **argv)
{
    void *object = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void (*init)(const char *, struct packetdrill_interface *);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
    struct timeval t;
    char data[2000];
    int l, c;
    if (object == NULL) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "test_packetdrill OBJECT");
        return 1;
    }
    *(void **)&init = dlsym(object, "packetdrill_interface_init");
    MUST(init != NULL);
    init("local=192.168.0.1", &ifc);
    l = ifc.socket(ifc.userdata, AF_INET, SOCK_STREAM, 0);
    MUST(l >= 0 && ifc.bind(ifc.userdata, l, (struct sockaddr *)&a, sizeof(a)) == 0 && ifc.listen(ifc.userdata, l, 1) == 0);
    send_packet(SYN, "");
    MUST(receive(SYN | ACK, data) == 0);
    send_packet(ACK, "");
    c = ifc.accept(ifc.userdata, l, NULL, NULL);
    MUST(c >= 0);
    send_packet(ACK | PSH, "hello");
    MUST(ifc.read(ifc.userdata, c, data, sizeof(data)) == 5 && memcmp(data, "hello", 5) == 0);
    MUST(ifc.write(ifc.userdata, c, "goodbye", 7) == 7);
    MUST(receive(ACK | PSH, data) == 7 && memcmp(data, "goodbye", 7) == 0);
    send_packet(ACK, "");
    MUST(ifc.usleep(ifc.userdata, 500000) == 0 && ifc.gettimeofday(ifc.userdata, &t, NULL) == 0);
    MUST(ifc.close(ifc.userdata, c) == 0);
    MUST(receive(ACK | FIN, data) == 0);
    send_packet(ACK | FIN, "");
    MUST(receive(ACK, data) == 0);
    MUST(ifc.read(ifc.userdata, c, data, 1) == -1);
    ifc.free(ifc.userdata);
    return 0;
}
