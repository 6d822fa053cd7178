/* SPDX-License-Identifier: MIT
 *
 * Sockets that were given, see heir.h. Of two that hold the ends of a pair neither listens: both call, and each takes
 * the other's call for its answer. The kernel tells who connected a socket, or made the pair, not who holds it now: it
 * is believed when the peer says the same of itself.
 */
#define _GNU_SOURCE
#include "mech/heir.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "mech/far.h"

static int ask(int fd, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

static bool who_is_there(int fd, bool remote, struct link_who *who) {
    struct sockaddr_storage at = {0};
    socklen_t length = sizeof(at);
    if (!remote) {
        link_identify(fd, who);
        return !who->dead;
    }
    bool there = getpeername(fd, (struct sockaddr *)&at, &length) == 0;
    far_identify(who, (const struct sockaddr *)&at);
    return there;
}

/* ---- a connected one ---- */

static int call(struct meet *m) {
    struct heir *h = (struct heir *)m->place;
    struct link_who who = {.pidfd = -1, .name = "?", .text = "the other end"};
    int fd = h->place.fd;
    if (fd < 0) {
        return err_say(ENOTCONN, "%s: this connection had one peer, which is gone; there will be no other", m->address);
    }
    if (h->place.remote) {
        (void)who_is_there(fd, true, &who);
    }
    h->place.fd = -1;
    meet_call(m, fd, fd, &who, true);
    return 0;
}

static void know(struct meet *m, int fd, const struct frame_hello *hello, struct link_who *who) {
    const struct heir *h = (const struct heir *)m->place;
    if (h->place.remote || m->raw) {
        return;
    }
    link_identify(fd, who);
    if (who->pid == hello->pid[0] && !who->dead) {
        return;
    }
    fd_close(&who->pidfd);
    *who = (struct link_who){.pidfd = -1, .uid = UINT32_MAX, .gid = UINT32_MAX, .name = "?"};
    (void)snprintf(who->text, sizeof(who->text), "pid %lld, as it says itself", (long long)hello->pid[0]);
}

static const struct meet_kind connected = {.seek = call, .know = know};

/* ---- one that listens ---- */

static int take(struct meet *m) {
    const struct heir *h = (const struct heir *)m->place;
    int fd = fcntl(h->place.fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        return err_system(errno, "%s: no descriptor to listen on", m->address);
    }
    meet_listen(m, fd);
    return 0;
}

static int admit(struct meet *m, int *in, int *out) {
    int fd = meet_accept(m);
    *in = *out = fd < 0 ? -1 : fd;
    return fd < 0 ? fd : 0;
}

static bool identify(struct meet *m, const struct meet_line *line, struct link_who *who) {
    const struct heir *h = (const struct heir *)m->place;
    bool there = who_is_there(line->in, h->place.remote, who) || m->raw;
    if (there) {
        rights_allow(line->in, m->own.descriptors != 0);
        rights_alone(line->in);
        (void)(h->place.remote ? far_prepare(line->in, m->queue) : link_set_queue(line->in, m->queue, m->packets));
    }
    return there;
}

static const struct meet_kind listening = {.seek = take, .admit = admit, .identify = identify};

/* ---- the mechanism ---- */

static const char *kind_of_file(int fd) {
    struct stat file;
    if (fstat(fd, &file) != 0) {
        return "not open; was it inherited, or taken over already?";
    }
    return S_ISFIFO(file.st_mode)
               ? "a pipe, not a socket: fd://N?raw carries plain bytes through it, pipe:// messages to a child"
           : S_ISREG(file.st_mode) ? "a file, not a socket"
           : S_ISCHR(file.st_mode) ? "a terminal or device, not a socket"
                                   : "not a socket";
}

/* Can this be used? Fills in what it is. 0 or an error. */
static int inspect(struct heir *h, const struct mech_open *open, int fd) {
    struct sockaddr_storage at;
    socklen_t length = sizeof(at);
    int type = ask(fd, SO_TYPE), family = ask(fd, SO_DOMAIN);
    if (type < 0) {
        return err_say(errno == EBADF ? EBADF : ENOTSOCK, "%s: descriptor %d is %s", open->address, fd,
                       kind_of_file(fd));
    }
    h->place.remote = family == AF_INET || family == AF_INET6;
    h->chain.packets = type == SOCK_SEQPACKET && family == AF_UNIX;
    h->chain.carries = family == AF_UNIX;
    if (!(type == SOCK_STREAM || h->chain.packets) || !(family == AF_UNIX || h->place.remote)) {
        return err_say(EPROTOTYPE, "%s: descriptor %d is a socket, but neither a Unix nor a TCP connection",
                       open->address, fd);
    }
    if (open->options.type != 0 && (open->options.type == THIRL_SEQPACKET) != h->chain.packets) {
        return err_say(EPROTOTYPE, "%s: descriptor %d is of another ?type=, %s", open->address, fd,
                       h->chain.packets ? "seqpacket" : "stream");
    }
    h->place.listens = ask(fd, SO_ACCEPTCONN) > 0;
    if (!h->place.listens && getpeername(fd, (struct sockaddr *)&at, &length) != 0) {
        return err_say(ENOTCONN, "%s: descriptor %d is a socket that is neither connected nor listens", open->address,
                       fd);
    }
    return 0;
}

int heir_open(struct heir *h, const struct mech_open *open, int fd) {
    h->place.fd = -1;
    int rc = inspect(h, open, fd);
    if (rc != 0) {
        return rc;
    }
    bool listens = h->place.listens;
    h->place.fd = listens ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (h->place.fd < 0) {
        return err_system(errno, "%s: no descriptor to take descriptor %d over", open->address, fd);
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* of the socket, whoever else holds it */
    if (!listens) {
        rights_allow(fd, open->options.descriptors != 0);
        rights_alone(fd);
    }
    h->chain.queue = h->place.remote ? far_prepare(fd, open->options.queue)
                                     : link_set_queue(fd, open->options.queue, h->chain.packets);
    rc = haul_open(&h->chain, open, listens ? &listening : &connected, h);
    if (listens) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    } else if (rc != 0) {
        fd_close(&h->place.fd);
    } else {
        fd_release(fd);
    }
    return rc;
}

/* ---- the address of those who call ---- */

/* In an address, what is not to be seen or means something else is %XX. The characters written, or -1: no room. */
static int escape(char *to, size_t room, const char *from, size_t length) {
    static const char digit[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)from[i];
        if (n + 4 > room) {
            return -1;
        }
        if (c > ' ' && c != 0x7f && c != '%' && c != '?') {
            to[n++] = (char)c;
        } else {
            to[n++] = '%';
            to[n++] = digit[c >> 4];
            to[n++] = digit[c & 15];
        }
    }
    to[n] = '\0';
    return (int)n;
}

static int no_name(const struct heir *h, const char *why) {
    return err_say(EINVAL, "%s: nobody can be told where it listens: %s", h->chain.meet.address, why);
}

static int name_local(const struct heir *h, const struct sockaddr_un *at, socklen_t size, char *out, size_t room) {
    size_t length = size > offsetof(struct sockaddr_un, sun_path) ? size - offsetof(struct sockaddr_un, sun_path) : 0;
    char name[sizeof(at->sun_path) + 1];
    length = length < sizeof(at->sun_path) ? length : sizeof(at->sun_path); /* the kernel may count a NUL behind them */
    memcpy(name, at->sun_path, length);
    name[length] = '\0';
    bool named = length > 1 && name[0] == '\0';
    if (named) {
        name[0] = '@';
    }
    if (named ? strlen(name) != length : name[0] != '/') {
        return no_name(h, named         ? "its name holds a NUL byte"
                          : length <= 1 ? "it has no name"
                                        : "its path is not absolute");
    }
    size_t n = (size_t)snprintf(out, room, "unix://");
    return n >= room || escape(out + n, room - n, name, strlen(name)) < 0 ? -EMSGSIZE : 0;
}

/* Who listens everywhere is called over this host's own loop. */
static int name_remote(const struct heir *h, struct sockaddr_storage *at, socklen_t size, char *out, size_t room) {
    struct sockaddr_in *four = (struct sockaddr_in *)at;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)at;
    char host[NI_MAXHOST], port[NI_MAXSERV], plain[3 * 64];
    if (at->ss_family == AF_INET && four->sin_addr.s_addr == htonl(INADDR_ANY)) {
        four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    if (at->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) {
        six->sin6_addr = in6addr_loopback;
    }
    if (getnameinfo((struct sockaddr *)at, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0 ||
        escape(plain, sizeof(plain), host, strlen(host)) < 0) {
        return no_name(h, "its address cannot be written");
    }
    int n = snprintf(out, room, at->ss_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s", plain, port);
    return n < 0 || (size_t)n >= room ? -EMSGSIZE : 0;
}

/* The options are those of this end; the kind of socket has to be said where it is not the usual one. */
static int add_options(const struct heir *h, char *out, size_t room) {
    const char *query = strchr(h->chain.meet.address, '?');
    bool kind = h->chain.packets && !(query && (strstr(query, "?type=") || strstr(query, "&type=")));
    size_t length = strlen(out);
    int n = snprintf(out + length, room - length, "%s%s", query ? query : "",
                     !kind   ? ""
                     : query ? "&type=seqpacket"
                             : "?type=seqpacket");
    return n < 0 || (size_t)n >= room - length ? -EMSGSIZE : 0;
}

int heir_hand(void *self, char *address, size_t capacity) {
    struct heir *h = self;
    struct sockaddr_storage at = {0};
    socklen_t size = sizeof(at);
    if (!h->place.listens) {
        return err_say(
            EINVAL,
            "%s: this end is connected already, and its other end not its to hand over: a child inherits that by "
            "itself, or pipe:// hands one over",
            h->chain.meet.address);
    }
    if (getsockname(h->place.fd, (struct sockaddr *)&at, &size) != 0) {
        return err_system(errno, "%s: the kernel does not say where it listens", h->chain.meet.address);
    }
    if (capacity == 0) {
        return -EMSGSIZE;
    }
    int rc = h->place.remote ? name_remote(h, &at, size, address, capacity)
                             : name_local(h, (const struct sockaddr_un *)&at, size, address, capacity);
    return rc != 0 ? rc : add_options(h, address, capacity);
}

void heir_limits(void *self, struct thirl_limits *limits) {
    const struct heir *h = self;
    haul_limits(self, limits);
    limits->cross_host = h->place.remote;
}

void heir_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->cross_host = limits->descriptors = 1;
}
