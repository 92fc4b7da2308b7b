/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's TCP at the other end of bench_tcp_end, and in its place.
 *
 *   bench_tcp_peer serve ADDRESS           the three ports of bench_tcp_end, by sockets
 *   bench_tcp_peer send ADDRESS BYTES      to port 7001; prints the seconds until all are taken
 *   bench_tcp_peer receive ADDRESS BYTES   from port 7002; prints the seconds
 *   bench_tcp_peer echo ADDRESS COUNT      64 bytes there and back; prints the median and the 99th percentile in microseconds
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SINK = 7001, SOURCE = 7002, ECHO = 7003, PIECE = 65536, REQUEST = 64 };

static char bytes[PIECE];

static void die(const char *what)
{
    fprintf(stderr, "bench_tcp_peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *text, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, text, &a.sin_addr) != 1)
        die(text);
    return a;
}

static void all(int fd, void *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = recv(fd, (char *)to + at, n - at, 0);
        if (r <= 0)
            die("recv");
        at += (size_t)r;
    }
}

static void put(int fd, size_t n)
{
    while (n != 0) {
        ssize_t r = send(fd, bytes, n < PIECE ? n : PIECE, MSG_NOSIGNAL);
        if (r <= 0)
            die("send");
        n -= (size_t)r;
    }
}

static int connect_to(const char *address, uint16_t port)
{
    struct sockaddr_in a = address_of(address, port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* ---- the server ---- */

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg, one = 1;
    static __thread char buffer[PIECE];
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    uint64_t count = 0;
    ssize_t n;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        die("getsockname");
    if (ntohs(a.sin_port) == SOURCE) {
        all(fd, &count, sizeof(count));
        put(fd, be64toh(count));
    } else {
        while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
            count += (uint64_t)n;
            if (ntohs(a.sin_port) == ECHO && send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
                break;
        }
        count = htobe64(count);
        if (ntohs(a.sin_port) == SINK)
            (void)!send(fd, &count, sizeof(count), MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static void *serve_port(void *arg)
{
    int fd = (int)(intptr_t)arg;
    for (;;) {
        pthread_t t;
        int c = accept(fd, NULL, NULL);
        if (c < 0 || pthread_create(&t, NULL, serve_one, (void *)(intptr_t)c) != 0)
            die("accept");
        pthread_detach(t);
    }
    return NULL;
}

static void serve(const char *address)
{
    for (uint16_t port = SINK; port <= ECHO; port++) {
        struct sockaddr_in a = address_of(address, port);
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        pthread_t t;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 64) != 0)
            die("bind");
        if (pthread_create(&t, NULL, serve_port, (void *)(intptr_t)fd) != 0)
            die("thread");
    }
    puts("ready");
    fflush(stdout);
    alarm(600);
    pause();
}

/* ---- the client ---- */

static void client_send(const char *address, uint64_t n)
{
    int fd = connect_to(address, SINK);
    double began = now();
    uint64_t count;
    put(fd, n);
    shutdown(fd, SHUT_WR);
    all(fd, &count, sizeof(count));
    if (be64toh(count) != n)
        die("bytes are missing");
    printf("%.6f\n", now() - began);
}

static void client_receive(const char *address, uint64_t n)
{
    int fd = connect_to(address, SOURCE);
    double began = now();
    uint64_t count = htobe64(n), got = 0;
    ssize_t r;
    if (send(fd, &count, sizeof(count), 0) != sizeof(count))
        die("send");
    while ((r = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        got += (uint64_t)r;
    if (got != n)
        die("bytes are missing");
    printf("%.6f\n", now() - began);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void client_echo(const char *address, uint64_t count)
{
    int fd = connect_to(address, ECHO);
    double *took = calloc(count, sizeof(*took));
    char back[REQUEST];
    if (took == NULL)
        die("memory");
    for (uint64_t i = 0; i < count; i++) {
        double began = now();
        put(fd, REQUEST);
        all(fd, back, sizeof(back));
        took[i] = (now() - began) * 1e6;
    }
    qsort(took, count, sizeof(*took), by_value);
    printf("%.2f %.2f\n", took[count / 2], took[count * 99 / 100]);
    free(took);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    else if (n != 0 && strcmp(argv[1], "send") == 0)
        client_send(argv[2], n);
    else if (n != 0 && strcmp(argv[1], "receive") == 0)
        client_receive(argv[2], n);
    else if (n != 0 && strcmp(argv[1], "echo") == 0)
        client_echo(argv[2], n);
    else
        fputs("bench_tcp_peer serve ADDRESS | send|receive ADDRESS BYTES | echo ADDRESS COUNT\n", stderr);
    return 0;
}
