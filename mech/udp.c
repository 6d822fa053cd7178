/* SPDX-License-Identifier: MIT
 *
 * udp://host:port: datagrams as a carrier, and the queue that the engine makes of it. PULL binds the address, or joins the
 * group of udp://group@interface:port; PUSH sends there. Nobody is connected and nobody is told of: what is lost on the way
 * shows in the numbers of what came, or when the other host says so. The name is resolved once, by open. PUB and SUB are the same
 * for a group alone, and in each publisher's order.
 */
#define _GNU_SOURCE
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/gram.h"
#include "mech/host.h"
#include "mech/quick.h"
#include "mech/tray.h"

#define HEADS_4 28u /* of IP and UDP, before each datagram */
#define HEADS_6 48u
#define LARGEST_4 (65535 - HEADS_4)
#define LARGEST_6 (65535 - 8) /* there the length in the head does not count the head */
#define QUEUE 212992u         /* net.core.rmem_default, where nobody has changed it */
#define OLD_NEWS 3            /* what has become of earlier datagrams is said before one is sent */

struct udp {
    struct gram gram;
    size_t packet;
    uint64_t bytes;
    bool many; /* each of several receivers gets everything */
    bool whole;
    uint64_t *lost;   /* NULL: of who receives, and sees it by the numbers */
    uint32_t dropped; /* by the kernel: as it counts */
};

/* ---- where ---- */

struct site {
    struct host host;
    unsigned interface; /* 0: as the routes say */
};

/* "host:port" or "group@interface:port". */
static int read_site(struct site *site, const char *address, const char *rest) {
    char plain[NODE_ADDRESS_MAX], name[IF_NAMESIZE] = "";
    const char *at = strrchr(rest, '@'), *colon = strrchr(rest, ':');
    if (at != NULL && colon != NULL && at < colon) {
        (void)snprintf(name, sizeof name, "%.*s", (int)(colon - at - 1), at + 1);
        site->interface = (size_t)(colon - at - 1) < sizeof name ? if_nametoindex(name) : 0;
        if (site->interface == 0) {
            return err_say(THIRL_EADDRESS, "%s: there is no network interface \"%.*s\"", address, (int)(colon - at - 1),
                           at + 1);
        }
    }
    int length = site->interface != 0 ? (int)(at - rest) : (int)strlen(rest);
    (void)snprintf(plain, sizeof plain, "%.*s%s", length, rest, site->interface != 0 ? colon : "");
    return host_read(&site->host, address, "udp", plain, SOCK_DGRAM);
}

static bool is_group(const struct host_spot *spot) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&spot->at;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&spot->at;
    return spot->at.ss_family == AF_INET6 ? IN6_IS_ADDR_MULTICAST(&six->sin6_addr)
                                          : IN_MULTICAST(ntohl(four->sin_addr.s_addr));
}

/* The kernel tells: it forbids those who have not asked for it. */
static bool is_broadcast(const struct host_spot *spot) {
    int fd = spot->at.ss_family == AF_INET ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    bool broadcast = fd >= 0 && connect(fd, host_at(spot), spot->length) != 0 && errno == EACCES;
    fd_close(&fd);
    return broadcast;
}

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* ---- open ---- */

static int say_unrouted(const struct carrier_open *open, int code, bool named) {
    return err_say(code,
                   named ? "%s: that interface reaches no multicast group"
                         : "%s: no route leads to this group: name an interface, as in udp://239.1.2.3@eth0:5000",
                   open->address);
}

static int join(int fd, const struct host_spot *spot, unsigned interface) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&spot->at;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&spot->at;
    const struct ip_mreqn group4 = {.imr_multiaddr = four->sin_addr, .imr_ifindex = (int)interface};
    const struct ipv6_mreq group6 = {.ipv6mr_multiaddr = six->sin6_addr, .ipv6mr_interface = interface};
    return spot->at.ss_family == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group6, sizeof group6)
                                          : setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group4, sizeof group4);
}

/* 0, or -errno without a sentence. */
static int listen_at(struct udp *u, const struct host_spot *spot, unsigned interface) {
    bool group = is_group(spot);
    u->many = group || is_broadcast(spot);
    if (u->many) {
        (void)set(u->gram.fd, SOL_SOCKET, SO_REUSEADDR, 1); /* not elsewhere: the last to come would get everything */
    }
    if (bind(u->gram.fd, host_at(spot), spot->length) != 0) {
        return -errno;
    }
    return group && join(u->gram.fd, spot, interface) != 0 ? -errno : 0;
}

static int aim_at(struct udp *u, const struct host_spot *spot, unsigned interface) {
    const struct ip_mreqn from = {.imr_ifindex = (int)interface};
    u->many = is_group(spot) || is_broadcast(spot);
    (void)set(u->gram.fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (interface != 0 && (spot->at.ss_family == AF_INET6
                               ? set(u->gram.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface)
                               : setsockopt(u->gram.fd, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from)) != 0) {
        return -errno; /* it would go out elsewhere */
    }
    return connect(u->gram.fd, host_at(spot), spot->length) == 0 ? 0 : -errno;
}

static int say_refused(const struct carrier_open *open, const struct host_spot *spot, int code, bool named) {
    if (is_group(spot) && (code == ENODEV || code == ENETUNREACH || code == EADDRNOTAVAIL)) {
        return say_unrouted(open, code, named);
    }
    switch (code) {
    case EADDRINUSE:
        return err_say(EBUSY,
                       "%s: another socket of this host receives there: a datagram reaches one; a multicast group "
                       "reaches many",
                       open->address);
    case EADDRNOTAVAIL:
        return err_say(EADDRNOTAVAIL, "%s: the address is not this host's, so nobody can receive there", open->address);
    case EACCES:
        return err_say(EACCES, "%s: ports below net.ipv4.ip_unprivileged_port_start take CAP_NET_BIND_SERVICE",
                       open->address);
    default:
        return err_system(code, "%s: cannot %s", open->address, open->way == MECH_IN ? "receive there" : "send there");
    }
}

/* Both ways, so that an instance need not know: a slice at most inside a call that may block. */
static void prepare(struct udp *u, uint64_t queue) {
    const struct timeval slice = {.tv_usec = MECH_SLICE_NS / CLOCK_US};
    int name = u->gram.receives ? SO_RCVBUF : SO_SNDBUF, room = 0;
    socklen_t length = sizeof room;
    (void)setsockopt(u->gram.fd, SOL_SOCKET, u->gram.receives ? SO_RCVTIMEO : SO_SNDTIMEO, &slice, sizeof slice);
    (void)set(u->gram.fd, SOL_SOCKET, name, queue > INT32_MAX / 2 ? INT32_MAX / 2 : (int)queue);
    (void)getsockopt(u->gram.fd, SOL_SOCKET, name, &room, &length);
    u->bytes = room > 0 ? (uint64_t)room / 2 : 0; /* the other half is for what the kernel adds */
    if (u->gram.receives && u->lost != NULL) {
        (void)set(u->gram.fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
    }
}

/* Pieces of larger messages are as large as the path takes whole: with each IP fragment that is lost, so is its datagram. */
static void choose_packet(struct udp *u, int family) {
    unsigned heads = family == AF_INET6 ? HEADS_6 : HEADS_4;
    int mtu = 0;
    socklen_t length = sizeof mtu;
    u->packet = family == AF_INET6 ? LARGEST_6 : LARGEST_4;
    if (!u->whole && !u->gram.receives) {
        (void)getsockopt(u->gram.fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
                         family == AF_INET6 ? IPV6_MTU : IP_MTU, &mtu, &length);
        size_t fits = mtu > 576 ? (size_t)mtu - heads : 576 - heads;
        u->packet = fits < u->packet ? fits : u->packet;
    }
}

static int open_spot(struct udp *u, const struct carrier_open *open, const struct host_spot *spot, unsigned interface) {
    if (interface != 0 && !is_group(spot)) {
        return err_say(THIRL_EADDRESS, "%s: only a multicast group is looked for at an interface", open->address);
    }
    u->gram.fd = socket(spot->at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (u->gram.fd < 0) {
        return errno == EAFNOSUPPORT ? -EADDRNOTAVAIL : err_system(errno, "%s: no socket", open->address);
    }
    fd_own(u->gram.fd);
    prepare(u, open->options->queue);
    weave("udp.bind.before");
    int rc = u->gram.receives ? listen_at(u, spot, interface) : aim_at(u, spot, interface);
    if (rc == 0) {
        choose_packet(u, spot->at.ss_family);
        return 0;
    }
    fd_close(&u->gram.fd);
    return say_refused(open, spot, -rc, interface != 0);
}

static int open_slot(void *self, const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    struct udp *u = self;
    struct site site = {.interface = 0};
    (void)place; /* of a duct, and no duct is made of it */
    *u = (struct udp){.gram = {.fd = -1, .receives = open->way == MECH_IN}, .lost = open->lost};
    u->whole = open->options->raw != 0 || open->options->max <= LARGEST_4 - FRAG_LABEL;
    int rc = open->options->type != 0
                 ? err_say(THIRL_EADDRESS, "%s: udp:// has no ?type=: it is datagrams", open->address)
                 : read_site(&site, open->address, open->rest);
    bool done = rc != 0;
    for (unsigned i = 0; !done && i < site.host.spots; i++) {
        struct host_spot *spot = &site.host.spot[i];
        if (spot->at.ss_family == AF_INET6 && site.interface != 0) {
            ((struct sockaddr_in6 *)(void *)&spot->at)->sin6_scope_id = site.interface;
        }
        rc = open_spot(u, open, spot, site.interface);
        done = rc != -EADDRNOTAVAIL && rc != -ENETUNREACH; /* a name may stand for more than this host can reach */
    }
    if (rc == 0 && u->gram.receives) {
        u->gram.haste.quiet = open->options->wait == THIRL_WAIT_SLEEP;
        gram_listen(&u->gram, u->packet);
    }
    return rc;
}

static void close_slot(void *self) {
    struct udp *u = self;
    gram_close(&u->gram);
}

/* ---- send and receive ---- */

static void count_lost(struct udp *u, uint64_t more) {
    atomic_poke(u->lost, *u->lost + more);
}

/* Is that what another host said of an earlier datagram? Of one that was too large for a link on the way, too: this one is not. */
static bool is_old_news(const struct udp *u, int code, size_t size) {
    return code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == EHOSTDOWN ||
           code == ENOPROTOOPT || code == EPROTO || (code == EMSGSIZE && size <= u->packet);
}

/* A datagram did not go. What has become of earlier ones is said once for each; what is said each time is true of this one. */
static __attribute__((noinline)) int send_again(struct udp *u, const struct iovec *part, unsigned parts, bool wait) {
    const size_t size = parts_size(part, parts);
    uint64_t news = 0;
    while (news < OLD_NEWS && is_old_news(u, errno, size)) {
        news++;
        if (gram_send(&u->gram, part, parts, wait) >= 0) {
            count_lost(u, news);
            return 0;
        }
    }
    switch (errno) {
    case EMSGSIZE:
        return -EMSGSIZE;
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
    case ECONNREFUSED:
        count_lost(u, news + (errno == ECONNREFUSED));
        return -EAGAIN;
    default:
        return err_system(errno, "the datagram cannot be sent");
    }
}

SLOT int send_slot(void *self, const struct iovec *part, unsigned parts, const struct mech_note *note, bool wait) {
    struct udp *u = self;
    (void)note;
    return likely(gram_send(&u->gram, part, parts, wait) >= 0) ? 0 : send_again(u, part, parts, wait);
}

/* How many datagrams the kernel had no room for, says the next one that has. */
static void read_drops(struct udp *u, struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t dropped;
            memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
            count_lost(u, dropped - u->dropped);
            u->dropped = dropped;
        }
    }
}

SLOT int recv_slot(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                   struct mech_note *note, bool wait) {
    struct udp *u = self;
    struct gram_told told;
    const bool counts = u->lost != NULL;
    ssize_t got = gram_receive(&u->gram, part, parts, at, wait, unlikely(counts) ? &told : NULL);
    if (unlikely(got < 0)) {
        return errno == EAGAIN || errno == EINTR || errno == ENOMEM ? -EAGAIN
                                                                    : err_system(errno, "datagrams cannot be received");
    }
    if (unlikely(counts)) {
        read_drops(u, told.said);
    }
    if (note != NULL) {
        note->priority = 0;
        note->count = 0;
    }
    *size = (size_t)got;
    return *size > part[parts - 1].iov_len ? -EMSGSIZE : 0;
}

static bool holds_slot(void *self) {
    return tray_holds(((struct udp *)self)->gram.tray);
}

static int watch_slot(void *self, struct mech_watch *watch) {
    const struct udp *u = self;
    gram_watch(&u->gram, watch);
    return 0;
}

/* ---- what is true of it ---- */

static void describe(struct carrier_facts *facts, size_t packet, uint64_t bytes, bool many, bool whole) {
    *facts = (struct carrier_facts){.packet = packet,
                                    .bytes = bytes,
                                    .priorities = 1,
                                    .receivers = many ? 0 : 1,
                                    .whole = whole,
                                    .cross_host = true};
}

static void facts_slot(void *self, struct carrier_facts *facts) {
    const struct udp *u = self;
    describe(facts, u->packet, u->bytes, u->many, u->whole);
}

static void claims_slot(struct carrier_facts *facts) {
    describe(facts, LARGEST_4, QUEUE, false, true);
}

static const struct carrier carrier_udp = {
    .scheme = "udp",
    .state_size = sizeof(struct udp),
    .blocks = true,
    .remedy = "no datagram holds more; without ?raw, ?max= has larger messages cut",
    .open = open_slot,
    .close = close_slot,
    .send = send_slot,
    .recv = recv_slot,
    .holds = holds_slot,
    .watch = watch_slot,
    .facts = facts_slot,
    .claims = claims_slot,
};

static int open_end(void *self, const struct mech_open *open) {
    return queue_open(self, &carrier_udp, open);
}

static void claims(struct thirl_limits *limits) {
    queue_claims(&carrier_udp, limits);
}

HOT static int send_end(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return quick_send(self, send_slot, NULL, data, size, done, wait);
}

HOT static int recv_end(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return quick_recv(self, recv_slot, buffer, capacity, size, wait);
}

static int64_t disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

/* A published message is one datagram, so that its number is the message's; and goes to many, or it would be pushed. */
static int open_group(void *self, const struct mech_open *open) {
    struct queue *q = self;
    const uint64_t most = LARGEST_4 - FRAG_LABEL, tail = seal_tail(seal_kind(&open->options));
    struct mech_open whole = *open;
    if (open->options.raw != 0) {
        return err_say(EOPNOTSUPP, "%s: the raw form of udp has the roles push and pull only", open->address);
    }
    if (open->options.max > most + tail) { /* the seal has added its own */
        return err_say(EMSGSIZE,
                       "%s: a published message is one datagram, of at most %u bytes (?max); push sends larger ones",
                       open->address, (unsigned)most);
    }
    whole.options.max = whole.options.max < most ? whole.options.max : most;
    int rc = queue_open(q, &carrier_udp, &whole);
    if (rc == 0 && q->facts.receivers != 0) {
        queue_close(q);
        queue_deinit(q);
        rc = err_say(
            THIRL_EADDRESS,
            "%s: udp publishes to a multicast group, 224.0.0.0 to 239.255.255.255 or in ff00::/8, or a broadcast "
            "address; to one receiver send with push, who listens with pull",
            open->address);
    }
    q->in.frag.in_order = true;
    return rc;
}

static void skip(void *self) {
    struct queue *q = self;
    frag_skip(&q->in.frag);
}

static void describe_group(struct thirl_limits *limits) {
    limits->ordered = 1;
    limits->receivers = 0;
    limits->full = THIRL_FULL_DROP_NEWEST;
}

static void group_limits(void *self, struct thirl_limits *limits) {
    queue_limits(self, limits);
    describe_group(limits);
}

static void group_claims(struct thirl_limits *limits) {
    queue_claims(&carrier_udp, limits);
    describe_group(limits);
}

const struct mech mech_group = {
    .scheme = "udp",
    .summary = "UDP datagrams, published to all of a multicast group: may be lost, which each subscriber sees",
    .state_size = sizeof(struct queue),
    .roles = 1u << THIRL_PUB | 1u << THIRL_SUB,
    .raw = true,
    .crc = true,
    .numbers = true,
    .full = 1u << THIRL_FULL_DROP_NEWEST,
    .queue = QUEUE,
    .max = LARGEST_4 - FRAG_LABEL,
    .blocks = true,
    .open = open_group,
    .close = queue_close,
    .deinit = queue_deinit,
    .flush = queue_flush,
    .send = send_end,
    .settle = queue_settle,
    .recv = recv_end,
    .send_noted = queue_send_noted,
    .recv_noted = queue_recv_noted,
    .skip = skip,
    .look = queue_look,
    .arm = queue_arm,
    .disarm = disarm,
    .fd = queue_fd,
    .limits = group_limits,
    .claims = group_claims,
    .peer = queue_peer,
};

const struct mech mech_udp = {
    .scheme = "udp",
    .kin = &mech_group,
    .summary = "UDP datagrams, to one host, to all of a network or to a multicast group: may be lost, which is counted",
    .state_size = sizeof(struct queue),
    .roles = 1u << THIRL_PUSH | 1u << THIRL_PULL,
    .raw = true,
    .crc = true,
    .queue = QUEUE,
    .max = LARGEST_4 - FRAG_LABEL,
    .blocks = true,
    .open = open_end,
    .close = queue_close,
    .deinit = queue_deinit,
    .flush = queue_flush,
    .send = send_end,
    .settle = queue_settle,
    .recv = recv_end,
    .send_noted = queue_send_noted,
    .recv_noted = queue_recv_noted,
    .look = queue_look,
    .arm = queue_arm,
    .disarm = disarm,
    .fd = queue_fd,
    .limits = queue_limits,
    .claims = claims,
    .peer = queue_peer,
};
