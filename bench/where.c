/* SPDX-License-Identifier: MIT
 *
 * Fresh names and free ports.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/where.h"

/* A port that nobody has now; it may be taken by somebody else before it is used, but hardly ever is. */
static unsigned free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, length) || getsockname(fd, (struct sockaddr *)&at, &length)) {
        at.sin_port = htons(47113);
    }
    close(fd);
    return ntohs(at.sin_port);
}

void where_fresh(char address[WHERE_MAX], const char *scheme, const char *options) {
    static unsigned number;
    char fresh[40] = "";
    size_t length = strlen(scheme);
    if (!options) {
        (void)snprintf(address, WHERE_MAX, "%s", scheme);
        return;
    }
    if (scheme[length - 1] == ':') {
        (void)snprintf(fresh, sizeof fresh, "%u", free_port());
    } else if (strcmp(scheme, "pipe://") != 0) {
        (void)snprintf(fresh, sizeof fresh, "thirl-bench-%d-%u", (int)getpid(), number++);
    }
    (void)snprintf(address, WHERE_MAX, "%s%s%s%s", scheme, fresh, options[0] ? "?" : "", options);
}
