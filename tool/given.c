/* SPDX-License-Identifier: MIT
 *
 * Descriptors that the tool itself was given, and that an address of fd:// or activated:// names: what they are, and what of
 * them a program that the tool starts shall see.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool/tool.h"

#define FIRST 3       /* of those that a service manager gives */
#define LOOKED_AT 256 /* numbers among which the other end is looked for */

/* ---- which one ---- */

/* The text as a number, or -1. */
static int number(const char *text, size_t length) {
    char digits[12];
    if (!text || length == 0 || length >= sizeof digits || strspn(text, "0123456789") < length) {
        return -1;
    }
    memcpy(digits, text, length);
    digits[length] = 0;
    long value = strtol(digits, NULL, 10);
    return value <= INT_MAX - FIRST ? (int)value : -1;
}

static int variable(const char *name) {
    const char *text = getenv(name);
    return text ? number(text, strlen(text)) : -1;
}

/* How many sockets a service manager has given to the process pid. */
static int activated(pid_t pid) {
    int many = variable("LISTEN_FDS");
    return variable("LISTEN_PID") == pid && many > 0 ? many : 0;
}

/* As sd_listen_fds(3) counts: a name, or a place in the list, or nothing for the first. */
static int find(const char *name, size_t length) {
    const char *names = getenv("LISTEN_FDNAMES");
    int many = activated(getpid()), place = length == 0 ? 0 : number(name, length);
    for (int i = 0; length != 0 && names && i < many; i++) {
        size_t here = strcspn(names, ":");
        if (here == length && memcmp(names, name, length) == 0) {
            place = i;
            break;
        }
        names = names[here] ? names + here + 1 : NULL;
    }
    return place >= 0 && place < many ? FIRST + place : -1;
}

static int named(const char *address) {
    const char *rest = strstr(address, "://");
    size_t scheme = rest ? (size_t)(rest - address) : 0, length = rest ? strcspn(rest + 3, "?") : 0;
    if (scheme == 2 && strncmp(address, "fd", 2) == 0) {
        return number(rest + 3, length);
    }
    return scheme == 9 && strncmp(address, "activated", 9) == 0 ? find(rest + 3, length) : -1;
}

/* ---- where its other end is ---- */

static unsigned inode(int fd) {
    struct stat file;
    return fstat(fd, &file) == 0 && S_ISSOCK(file.st_mode) ? (unsigned)file.st_ino : 0;
}

/* Of a Unix socket the kernel tells the inode of its peer; 0: it does not. */
static unsigned peer_inode(int fd) {
    struct {
        struct nlmsghdr head;
        struct unix_diag_req what;
    } ask = {{.nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
             {.sdiag_family = AF_UNIX,
              .udiag_states = ~0u,
              .udiag_ino = inode(fd),
              .udiag_show = UDIAG_SHOW_PEER,
              .udiag_cookie = {~0u, ~0u}}};
    union {
        struct nlmsghdr head;
        char bytes[1024];
    } said;
    unsigned found = 0;
    int kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    ssize_t size = kernel >= 0 && send(kernel, &ask, sizeof ask, 0) > 0 ? recv(kernel, &said, sizeof said, 0) : -1;
    if (size >= (ssize_t)NLMSG_SPACE(sizeof(struct unix_diag_msg)) && said.head.nlmsg_type == SOCK_DIAG_BY_FAMILY) {
        size_t at = NLMSG_SPACE(sizeof(struct unix_diag_msg));
        struct nlattr one;
        while (at + sizeof one <= (size_t)size) {
            memcpy(&one, said.bytes + at, sizeof one);
            if (one.nla_len < sizeof one || at + one.nla_len > (size_t)size) {
                break;
            }
            if (one.nla_type == UNIX_DIAG_PEER && one.nla_len >= sizeof one + sizeof found) {
                memcpy(&found, said.bytes + at + sizeof one, sizeof found);
            }
            at += NLA_ALIGN(one.nla_len);
        }
    }
    if (kernel >= 0) {
        close(kernel);
    }
    return found;
}

static bool same_name(int (*mine)(int, struct sockaddr *, socklen_t *), int a,
                      int (*yours)(int, struct sockaddr *, socklen_t *), int b) {
    struct sockaddr_storage one = {0}, two = {0};
    socklen_t first = sizeof one, second = sizeof two;
    return mine(a, (struct sockaddr *)&one, &first) == 0 && yours(b, (struct sockaddr *)&two, &second) == 0 &&
           first == second && (one.ss_family == AF_INET || one.ss_family == AF_INET6) && memcmp(&one, &two, first) == 0;
}

static int my_name(int fd, struct sockaddr *at, socklen_t *size) {
    return getsockname(fd, at, size);
}

static int your_name(int fd, struct sockaddr *at, socklen_t *size) {
    return getpeername(fd, at, size);
}

static int other_end(int fd) {
    unsigned peer = peer_inode(fd);
    for (int each = 0; each < LOOKED_AT; each++) {
        if (each != fd && inode(each) != 0 &&
            (peer != 0 ? inode(each) == peer
                       : same_name(my_name, fd, your_name, each) && same_name(your_name, fd, my_name, each))) {
            return each;
        }
    }
    return -1;
}

/* ---- for the verbs ---- */

enum tool_exit given_look(struct given *g, const struct tool_args *args, const char *address) {
    int type = 0, listens = 0;
    socklen_t length = sizeof type, size = sizeof(struct sockaddr_storage);
    struct sockaddr_storage at;
    *g = (struct given){.fd = named(address), .other = -1};
    if (g->fd < 0) {
        return TOOL_DONE; /* what is wrong with it, the library says */
    }
    if (fcntl(g->fd, F_GETFD) < 0) {
        tool_say(args, "%s: descriptor %d is not open: nobody gave it to this process", address, g->fd);
        return TOOL_OTHER;
    }
    bool stream =
        getsockopt(g->fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && (type == SOCK_STREAM || type == SOCK_SEQPACKET);
    g->listens = stream && getsockopt(g->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
    g->connected = stream && !g->listens && getpeername(g->fd, (struct sockaddr *)&at, &size) == 0;
    return TOOL_DONE;
}

bool given_both(struct given *g) {
    g->other = g->connected ? other_end(g->fd) : -1;
    return g->other >= 0;
}

void given_address(char *out, size_t room, int fd, const char *address) {
    const char *query = strchr(address, '?');
    (void)snprintf(out, room, "fd://%d%s", fd, query ? query : "");
}

void given_shut(int fd) {
    int nothing = fd < FIRST ? open("/dev/null", O_RDWR) : -1;
    if (nothing >= 0 && nothing != fd) {
        (void)dup2(nothing, fd);
        close(nothing);
    } else if (fd >= FIRST) {
        close(fd);
    }
}

int given_apart(int fd) {
    int behind = FIRST + activated(getpid()), moved = fd < behind ? fcntl(fd, F_DUPFD, behind) : fd;
    if (moved == fd) {
        return fd;
    }
    if (moved >= 0) {
        given_shut(fd);
    }
    return moved;
}

static void set_number(const char *name, int value) {
    char text[12];
    (void)snprintf(text, sizeof text, "%d", value);
    (void)setenv(name, text, 1);
}

/* The descriptors without gaps, from FIRST on; their names into left, if there are any. How many. */
static int close_up(int many, const char *names, char *left) {
    int to = FIRST;
    for (int fd = FIRST; fd < FIRST + many; fd++) {
        size_t length = names ? strcspn(names, ":") : 0;
        if (fcntl(fd, F_GETFD) == 0) { /* not one of this program's own: those are close-on-exec */
            left = names ? mempcpy(to > FIRST ? mempcpy(left, ":", 1) : left, names, length) : left;
            (void)dup2(fd, to++);
        }
        names = names && names[length] ? names + length + 1 : NULL;
    }
    for (int fd = to; fd < FIRST + many; fd++) {
        close(fd);
    }
    return to - FIRST;
}

void given_pass_on(pid_t before) {
    int many = activated(before);
    const char *names = getenv("LISTEN_FDNAMES");
    char *left = calloc(1, names ? strlen(names) + 1 : 1);
    if (many == 0 || !left) {
        free(left);
        return;
    }
    int rest = close_up(many, names, left);
    if (rest > 0) {
        set_number("LISTEN_PID", getpid());
        set_number("LISTEN_FDS", rest);
        (void)(names ? setenv("LISTEN_FDNAMES", left, 1) : 0);
    } else {
        (void)unsetenv("LISTEN_PID");
        (void)unsetenv("LISTEN_FDS");
        (void)unsetenv("LISTEN_FDNAMES");
    }
    free(left);
}
