/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libtide_tcp_packetdrill.so. packetdrill binds what it loads deeply (RTLD_DEEPBIND), and in that
 * binding DPDK would read its arguments from other variables than those getopt writes. So this
 * object has nothing in it but the loading of the real one, which lies beside it.
 */
#include "packetdrill.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *ifc)
{
    char path[4096];
    Dl_info here;
    void (*init)(const char *, struct packetdrill_interface *) = NULL;
    void *stack;
    const char *slash;
    if (dladdr((void *)(uintptr_t)packetdrill_interface_init, &here) == 0)
        abort();
    slash = strrchr(here.dli_fname, '/');
    snprintf(path, sizeof(path), "%.*slibtide_tcp_packetdrill_stack.so", slash != NULL ? (int)(slash - here.dli_fname + 1) : 0, here.dli_fname);
    stack = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (stack != NULL)
        *(void **)&init = dlsym(stack, "tide_packetdrill_init");
    if (init == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    init(flags, ifc);
}
