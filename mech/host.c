/* SPDX-License-Identifier: MIT
 *
 * Hosts and ports, see host.h.
 */
#define _GNU_SOURCE
#include "mech/host.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int resolve(struct host *h, const char *address, const char *name, const char *port, int socktype) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = socktype, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(name, port, &hints, &found);
    if (rc == EAI_SYSTEM) {
        return err_system(errno, "%s: cannot look up the host \"%s\"", address, name);
    }
    if (rc != 0) {
        int code = rc == EAI_MEMORY ? ENOMEM : rc == EAI_AGAIN ? EHOSTUNREACH : THIRL_EADDRESS;
        return err_say(code, "%s: cannot look up the host \"%s\": %s", address, name, gai_strerror(rc));
    }
    for (struct addrinfo *one = found; one && h->spots < HOST_SPOTS; one = one->ai_next) {
        struct host_spot *s = &h->spot[h->spots++];
        memcpy(&s->at, one->ai_addr, one->ai_addrlen);
        s->length = one->ai_addrlen;
    }
    freeaddrinfo(found);
    return 0;
}

int host_read(struct host *h, const char *address, const char *scheme, const char *rest, int socktype) {
    char name[256];
    const char *colon = strrchr(rest, ':');
    size_t length = colon ? (size_t)(colon - rest) : 0;
    bool brackets = length >= 2 && rest[0] == '[' && colon[-1] == ']';
    *h = (struct host){.spots = 0};
    if (!colon || length == 0 || length >= sizeof(name)) {
        return err_say(THIRL_EADDRESS, "%s: write %s://host:port, such as %s://127.0.0.1:5000 or %s://[::1]:5000",
                       address, scheme, scheme, scheme);
    }
    if (!brackets && memchr(rest, ':', length)) {
        return err_say(THIRL_EADDRESS, "%s: an IPv6 address stands in brackets, such as %s://[::1]:5000", address,
                       scheme);
    }
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port == 0 || port > 65535) {
        return err_say(THIRL_EADDRESS, "%s: the port is a number from 1 to 65535, not \"%s\"", address, colon + 1);
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)length - 2 * brackets, rest + brackets);
    h->port = (unsigned)port;
    return resolve(h, address, name, colon + 1, socktype);
}
