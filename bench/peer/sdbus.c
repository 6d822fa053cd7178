/* SPDX-License-Identifier: MIT
 *
 * sd-bus, peer to peer over a Unix socket, no daemon between: a method call with an array of bytes, and its answer. What is put at once comes out of
 * the call when it is got.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bench/peer/peer.h"

static sd_bus *bus;
static sd_bus_message *held; /* ping: the answer; pong: the request */
static int calls;

static int connect_to(int ping, const char *where) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(where));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "%s", where);
    if (ping) {
        while (connect(fd, (struct sockaddr *)&at, length)) {
            if (errno != ECONNREFUSED) {
                return -1;
            }
            (void)usleep(1000);
        }
        return fd;
    }
    if (bind(fd, (struct sockaddr *)&at, length) || listen(fd, 1)) {
        return -1;
    }
    return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

static int open_end(int ping, const char *where) {
    sd_id128_t id;
    int fd = connect_to(ping, where);
    calls = ping;
    if (fd < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0) {
        return -1;
    }
    if (!ping && (sd_id128_randomize(&id) < 0 || sd_bus_set_server(bus, 1, id) < 0)) {
        return -1;
    }
    return sd_bus_set_anonymous(bus, 1) < 0 || sd_bus_start(bus) < 0 ? -1 : 0;
}

static int put(const void *data, size_t size) {
    sd_bus_message *message = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int rc = calls ? sd_bus_message_new_method_call(bus, &message, NULL, "/bench", "bench.Peer", "Pass")
                   : sd_bus_message_new_method_return(held, &message);
    rc = rc < 0 ? rc : sd_bus_message_append_array(message, 'y', data, size);
    if (calls) {
        rc = rc < 0 ? rc : sd_bus_call(bus, message, 0, &error, &held);
    } else {
        rc = rc < 0 ? rc : sd_bus_send(bus, message, NULL);
        held = sd_bus_message_unref(held);
    }
    (void)sd_bus_message_unref(message);
    return rc < 0 ? -1 : 0;
}

static int get(void *data, size_t size) {
    const void *bytes;
    size_t got;
    while (!calls && !held) {
        int rc = sd_bus_process(bus, &held);
        if (rc < 0 || (rc == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)) {
            return -1;
        }
        if (held && !sd_bus_message_is_method_call(held, "bench.Peer", "Pass")) {
            held = sd_bus_message_unref(held);
        }
    }
    if (sd_bus_message_read_array(held, 'y', &bytes, &got) < 0 || got != size) {
        return -1;
    }
    memcpy(data, bytes, size);
    if (calls) {
        held = sd_bus_message_unref(held);
    }
    return 0;
}

const struct peer peer = {.name = "sd-bus, peer to peer", .open = open_end, .put = put, .get = get, .calls = 1};
