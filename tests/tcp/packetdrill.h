/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program packetdrill expects of a shared object that stands for a TCP stack: it loads the
 * object, calls packetdrill_interface_init and uses the functions in this order of members.
 * Declared here because only this order is needed; nothing of packetdrill is part of this tree.
 *
 * Every function gets `userdata` first and otherwise behaves like the call of its name: -1 and errno on
 * failure. Packets begin with the IP header.
 */
#ifndef TIDEMARK_TESTS_TCP_PACKETDRILL_H
#define TIDEMARK_TESTS_TCP_PACKETDRILL_H

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

struct packetdrill_interface {
    void *userdata;
    void (*free)(void *);
    int (*socket)(void *, int domain, int type, int protocol);
    int (*bind)(void *, int fd, const struct sockaddr *, socklen_t);
    int (*listen)(void *, int fd, int backlog);
    int (*accept)(void *, int fd, struct sockaddr *, socklen_t *);
    int (*connect)(void *, int fd, const struct sockaddr *, socklen_t);
    ssize_t (*read)(void *, int fd, void *, size_t);
    ssize_t (*readv)(void *, int fd, const struct iovec *, int count);
    ssize_t (*recv)(void *, int fd, void *, size_t, int flags);
    ssize_t (*recvfrom)(void *, int fd, void *, size_t, int flags, struct sockaddr *, socklen_t *);
    ssize_t (*recvmsg)(void *, int fd, struct msghdr *, int flags);
    ssize_t (*write)(void *, int fd, const void *, size_t);
    ssize_t (*writev)(void *, int fd, const struct iovec *, int count);
    ssize_t (*send)(void *, int fd, const void *, size_t, int flags);
    ssize_t (*sendto)(void *, int fd, const void *, size_t, int flags, const struct sockaddr *, socklen_t);
    ssize_t (*sendmsg)(void *, int fd, const struct msghdr *, int flags);
    int (*fcntl)(void *, int fd, int command, ...);
    int (*ioctl)(void *, int fd, unsigned long request, ...);
    int (*close)(void *, int fd);
    int (*shutdown)(void *, int fd, int how);
    int (*getsockopt)(void *, int fd, int level, int name, void *value, socklen_t *);
    int (*setsockopt)(void *, int fd, int level, int name, const void *value, socklen_t);
    int (*poll)(void *, struct pollfd *, nfds_t, int timeout);
    int (*netdev_send)(void *, const void *packet, size_t); /* to the stack; 0 */
    /* The stack's next packet; *count is the room, then the length. Blocks; 0. */
    int (*netdev_receive)(void *, void *packet, size_t *count, long long *time_us);
    int (*usleep)(void *, useconds_t);
    int (*gettimeofday)(void *, struct timeval *, struct timezone *);
    int (*epoll_create)(void *, int);
    int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
    int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
    int (*pipe)(void *, int[2]);
    int (*splice)(void *, int, loff_t *, int, loff_t *, size_t, unsigned);
};

/* packetdrill_load.c; and what it calls in packetdrill.c. */
void packetdrill_interface_init(const char *flags, struct packetdrill_interface *);
void tide_packetdrill_init(const char *flags, struct packetdrill_interface *);

#endif
