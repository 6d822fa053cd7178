/* SPDX-License-Identifier: MIT
 *
 * One conversation of a desk: its files, its messages, its end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/desk.h"
#include "mem/place.h"
#include "mem/shed.h"

static const char *const kinds[] = {"tx", "rx"};

static uint32_t free_seat(struct desk *d) {
    for (uint32_t seat = 1; seat < DOOR_SEATS; seat++) { /* 0 is for those who have none */
        if (atomic_load(&d->used[seat]) == 0) {          /* pairs with the release in end_talk */
            return seat;
        }
    }
    return 0;
}

/* The other end's page and door. */
static int meet(struct talk *t) {
    struct desk *d = t->desk;
    char file[ROLL_FILE_MAX];
    bool heavy;
    roll_file(file, t->shm.mate, d->serves ? "tx" : "rx");
    int rc = seg_map(&t->page, d->roll.dir, file, sizeof(struct desk_page), d->address);
    if (rc == 0) {
        rc = mate_check(&t->shm, &t->page, DESK_MAGIC, sizeof(struct desk_page), &t->shm.mate, &heavy);
    }
    if (rc == 0) {
        roll_file(file, t->shm.mate, "door");
        rc = door_open(&t->door, d->roll.dir, file, d->address);
    }
    struct node_peer node;
    if (rc == 0 && (rc = node_peer_open(&node, t->shm.mate.node, t->shm.mate.number)) == 0) {
        (void)snprintf(t->who, sizeof t->who, "pid %lld (%.60s)", (long long)node.pid, proc_name(node.exe));
        node_peer_close(&node);
    }
    if (rc == 0) {
        t->theirs = (const struct desk_page *)(const void *)t->page.base;
        t->door.asleep = &t->theirs->asleep;
        t->door.polled = &t->theirs->polled;
    }
    return rc == -ENOENT || rc == -ESRCH ? -EAGAIN : rc;
}

/* Gives the files their names. The rx comes last: whoever sees it sees both. */
static int name_files(struct talk *t) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
        mate_file(file, &t->shm.roll.self, kinds[i], &t->shm.mate);
        (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
        weave("talk.make.before");
        if (renameat(t->shm.roll.dir, unfinished, t->shm.roll.dir, file) != 0) {
            rc = err_system(errno, "%s: the registry was removed while a conversation began", t->shm.address);
        }
        weave("talk.make.named");
    }
    t->named = rc == 0;
    return rc;
}

void talk_remove(struct talk *t) {
    for (size_t i = 0; i < 2 && !t->nameless; i++) {
        char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
        mate_file(file, &t->shm.roll.self, kinds[i], &t->shm.mate);
        (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
        weave("talk.end.file");
        (void)unlinkat(t->shm.roll.dir, file, 0);
        if (!t->named) {
            (void)unlinkat(t->shm.roll.dir, unfinished, 0);
        }
    }
    t->nameless = true;
}

static void give_back(struct talk *t) {
    talk_remove(t);
    seg_unmap(&t->page);
    door_close(&t->door);
    (void)pthread_mutex_destroy(&t->shm.noting);
    free(t);
}

static struct talk *prepare(struct desk *d, const struct roll_end *mate) {
    struct talk *t = aligned_alloc(CACHE_LINE, sizeof *t);
    if (t == NULL) {
        (void)err_say(ENOMEM, "%s: no memory for a conversation", d->address);
        return NULL;
    }
    memset(t, 0, sizeof *t);
    t->desk = d;
    struct shm *end = &t->shm;
    end->roll = d->roll;
    end->seen = d->seen;
    end->sends = end->receives = true;
    end->heavy = d->heavy;
    end->mode = d->mode;
    end->max = d->max + DESK_HEAD;
    end->mate = *mate;
    end->door = &t->door;
    memcpy(end->address, d->address, sizeof end->address);
    (void)pthread_mutex_init(&end->noting, NULL);
    return t;
}

int talk_make(struct desk *d, const struct roll_end *mate) {
    uint32_t seat = free_seat(d);
    if (seat == 0) {
        return err_say(EMFILE, "%s: this end has %u conversations, which is the most", d->address, DOOR_SEATS - 1);
    }
    struct talk *t = prepare(d, mate);
    if (t == NULL) {
        return -ENOMEM;
    }
    int rc = meet(t);
    rc = rc != 0 ? rc : outlet_init(&t->shm.out, &t->shm, &d->options);
    rc = rc != 0 ? rc : inlet_init(&t->shm.in, &t->shm, d->mode);
    if (rc == 0) {
        t->seat = seat;
        t->whom = (uint64_t)++d->serial << 16 | seat;
        t->shm.in.own->seat = seat;
        bell_show(&t->shm.in.own->data);
        t->armed = true;
        rc = name_files(t);
    }
    rc = rc == 0 && !d->serves ? talk_post(t) : rc;
    if (rc != 0) {
        seg_unmap(&t->shm.out.seg);
        seg_unmap(&t->shm.in.seg);
        give_back(t);
        return rc;
    }
    atomic_store(&d->used[seat], 1);
    if (seat >= d->top) {
        atomic_store(&d->top, seat + 1);
    }
    atomic_store(&d->out[seat], t); /* both pair with the loads in desk.c, of the other way */
    atomic_store(&d->in[seat], t);
    (void)atomic_add(&d->count, 1);
    door_mark(&d->door, seat); /* there may be something already */
    talk_note(d);
    return 0;
}

void talk_post_file(char file[ROLL_FILE_MAX], const struct roll_end *server, const struct roll_end *client) {
    char node[NODE_NAME_MAX];
    node_name(node, server->node);
    (void)snprintf(file, ROLL_FILE_MAX, "%s.%u.call.%016llx.%u", node, server->number, (unsigned long long)client->node,
                   client->number);
}

int talk_post(struct talk *t) {
    char own[ROLL_FILE_MAX], post[ROLL_FILE_MAX], theirs[ROLL_FILE_MAX];
    mate_file(own, &t->shm.roll.self, "tx", &t->shm.mate);
    talk_post_file(post, &t->shm.mate, &t->shm.roll.self);
    roll_file(theirs, t->shm.mate, "rx");
    place_post(t->shm.roll.change);
    weave("talk.post.before");
    if (linkat(t->shm.roll.dir, own, t->shm.roll.dir, post, 0) != 0 && errno != EEXIST) {
        return err_system(errno, "%s: a server cannot be asked to accept", t->shm.address);
    }
    weave("talk.post.after");
    place_ask(t->shm.roll.change, t->shm.roll.place);
    /* A server that leaves removes its rx first and then what was posted: one of us two sees the other. */
    if (faccessat(t->shm.roll.dir, theirs, F_OK, 0) != 0) {
        int gone = errno == ENOENT ? -EAGAIN
                                   : err_system(errno, "%s: nobody can tell whether a server is there", t->shm.address);
        (void)unlinkat(t->shm.roll.dir, post, 0);
        return gone;
    }
    (void)door_knock(&t->door, 0);
    int rc = door_asks(&t->door) ? mate_ring_fifo(&t->shm.roll, &t->shm.mate, SHM_DATA_FIFO) : 0;
    if (rc != 0) { /* nobody may ever tell it: asked again, it is */
        (void)unlinkat(t->shm.roll.dir, post, 0);
        return err_system(-rc, "%s: a server that polls cannot be rung", t->shm.address);
    }
    return 0;
}

void talk_note(struct desk *d) {
    char text[NODE_PEER_MAX] = "";
    (void)pthread_mutex_lock(&d->noting);
    uint32_t count = atomic_load(&d->count);
    if (count != 0) {
        (void)snprintf(text, sizeof text, "%u %s%s", count, d->serves ? "client" : "server", count == 1 ? "" : "s");
    }
    node_end_peer(d->seen, 0, text);
    (void)pthread_mutex_unlock(&d->noting);
}

void talk_arm(struct talk *t) {
    struct inlet *in = &t->shm.in;
    talk_disarm(t);
    if (in->feed != NULL) {
        (void)bell_arm(&in->own->data, &in->feed->theirs->data, 0, in->peer.heavy);
    } else {
        bell_show(&in->own->data);
    }
    t->armed = true;
}

void talk_disarm(struct talk *t) {
    if (t->armed) {
        bell_disarm(&t->shm.in.own->data);
        t->armed = false;
    }
}

/* ---- the end ---- */

uint32_t talk_lost(const struct talk *t) {
    const struct desk *d = t->desk;
    if (atomic_load(&t->theirs->gone) != 0) { /* pairs with the release in desk_close */
        return THIRL_ECLOSED;
    }
    return roll_has(&d->roll, t->shm.mate, d->serves ? "tx" : "rx") ? 0
           : atomic_load(&t->theirs->gone) != 0 ? THIRL_ECLOSED /* it may have left, and ended then */
                                                : THIRL_EPEERDIED;
}

enum { DONE_IN = 1, DONE_OUT = 2 };

static void let_go(struct talk *t, uint32_t way) {
    struct desk *d = t->desk;
    uint32_t seat = t->seat;
    if ((atomic_or(&t->done, way) | way) == (DONE_IN | DONE_OUT)) {
        give_back(t);
        atomic_store(&d->used[seat], 0); /* pairs with the load in free_seat */
    }
}

void talk_leave_in(struct talk *t) {
    inlet_close(&t->shm.in);
    shed_begin();
    inlet_deinit(&t->shm.in);
    let_go(t, DONE_IN);
    shed_end();
}

void talk_leave_out(struct talk *t) {
    outlet_close(&t->shm.out);
    shed_begin();
    outlet_deinit(&t->shm.out);
    let_go(t, DONE_OUT);
    shed_end();
}
