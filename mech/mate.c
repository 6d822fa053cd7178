/* SPDX-License-Identifier: MIT
 *
 * What both halves of an end do with their peer: find it, know it again, note it, ring it. Contracts in mech/shm.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/tube.h"
#include "mech/shm.h"

void mate_file(char file[ROLL_FILE_MAX], const struct roll_end *of, const char *kind, const struct roll_end *mate) {
    roll_file(file, *of, kind);
    if (mate->node != 0) {
        size_t used = strlen(file);
        (void)snprintf(file + used, ROLL_FILE_MAX - used, ".%016llx.%u", (unsigned long long)mate->node, mate->number);
    }
}

int mate_check(const struct shm *end, const struct seg *seg, const char *magic, size_t size, const struct roll_end *of,
               bool *heavy) {
    struct shm_mark mark;
    memcpy(&mark, seg->base, sizeof mark);
    if (memcmp(mark.magic, magic, sizeof mark.magic) != 0 || mark.node != of->node || mark.number != of->number) {
        return err_say(THIRL_EFORMAT, "%s: a file of the other end is not what its name says, or is damaged",
                       end->address);
    }
    if (mark.version != SHM_VERSION || mark.size != size) {
        return err_say(THIRL_EVERSION, "%s: the other end has layout %u (%u bytes), this one layout %d (%zu bytes)",
                       end->address, mark.version, mark.size, SHM_VERSION, size);
    }
    *heavy = end->heavy && (mark.features & SHM_HEAVY) != 0;
    return 0;
}

/* One that has died: its tx file says who it was. */
static void name_dead(struct shm_peer *peer, const struct seg *seg) {
    const struct shm_tx *tx = (const struct shm_tx *)(const void *)seg->base;
    peer->node = (struct node_peer){.id = peer->end.node, .fd = -1};
    memcpy(peer->who, tx->who, sizeof peer->who);
    peer->who[sizeof peer->who - 1] = '\0';
}

int mate_find(struct shm *end, const char *kind, const char *magic, size_t size, struct seg *seg, struct shm_peer *peer,
              bool *dead) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    const bool chosen = end->mate.node != 0;
    found = end->mate;
    if (!chosen && roll_find(&end->roll, kind, &found) != 0) {
        return -EAGAIN;
    }
    mate_file(file, &found, kind, chosen ? &end->roll.self : &end->mate);
    int rc = strcmp(magic, SHM_TX_MAGIC) == 0 ? seg_map_pooled(seg, end->roll.dir, file, size, end->address)
                                              : seg_map(seg, end->roll.dir, file, size, end->address);
    if (rc == -ENOENT) {
        return -EAGAIN; /* it left in between */
    }
    if (rc != 0) {
        return rc;
    }
    *peer = (struct shm_peer){.end = found};
    rc = mate_check(end, seg, magic, size, &found, &peer->heavy);
    rc = rc != 0 ? rc : node_peer_open(&peer->node, found.node, found.number);
    if (rc == -ESRCH && chosen && dead != NULL) {
        *dead = true;
        name_dead(peer, seg);
        return 0;
    }
    if (rc != 0) {
        seg_unmap(seg);
        return rc == -ESRCH ? -EAGAIN : rc;
    }
    if (chosen) {
        node_peer_lean(&peer->node);
    }
    (void)snprintf(peer->who, sizeof peer->who, "pid %lld (%.60s)", (long long)peer->node.pid,
                   proc_name(peer->node.exe));
    return 0;
}

int mate_find_post(struct shm *end, struct seg *seg, struct shm_peer *peer, bool *dead) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    if (end->mate.node != 0 || post_find(&end->roll, file, &found) != 0) {
        return -EAGAIN;
    }
    int rc = seg_map_pooled(seg, end->roll.dir, file, sizeof(struct shm_tx), end->address);
    *peer = (struct shm_peer){.end = found};
    if (rc == 0) {
        rc = mate_check(end, seg, SHM_TX_MAGIC, sizeof(struct shm_tx), &found, &peer->heavy);
        rc = rc != 0 ? rc : node_peer_open(&peer->node, found.node, found.number);
    }
    *dead = rc == -ESRCH;
    if (rc != 0 && !*dead) {
        seg_unmap(seg);
        if (rc == -ENOENT || shm_final(rc)) {
            post_drop(&end->roll, &found);
        }
        return rc == -ENOENT ? -EAGAIN : rc;
    }
    if (*dead) {
        name_dead(peer, seg);
        return 0;
    }
    (void)snprintf(peer->who, sizeof peer->who, "pid %lld (%.60s)", (long long)peer->node.pid,
                   proc_name(peer->node.exe));
    return 0;
}

static uint64_t key(const struct roll_end *end) {
    return end->node + end->number * UINT64_C(0x9e3779b97f4a7c15);
}

int mate_post(struct shm *end, const struct roll_end *to) {
    if (end->mate.node != 0) {
        return 0; /* whoever asks for something is there to hear the answer, or wants none */
    }
    (void)pthread_mutex_lock(&end->noting);
    int rc = end->posted == key(to) ? 0 : post_put(&end->roll, to);
    end->posted = rc == 0 ? key(to) : end->posted;
    (void)pthread_mutex_unlock(&end->noting);
    return rc;
}

int64_t mate_slice(const struct shm_peer *peer, bool linked) {
    if (peer == NULL) {
        return MECH_SLICE_NS;
    }
    int64_t slice = peer->node.life != NULL && linked ? SHM_LIFE_SLICE : MECH_SLICE_NS;
    return peer->node.doubt != 0 ? SHM_DOUBT_SLICE : slice;
}

bool mate_judge(struct shm *end, const struct roll_end *peer, bool left) {
    uint64_t about = key(peer) << 1;
    uint64_t last = atomic_load(&end->verdict);
    do {
        if (last >> 1 == about >> 1) {
            return (last & 1) != 0;
        }
    } while (!atomic_cas(&end->verdict, &last, about | left));
    return left;
}

static bool is(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

void mate_link(struct shm *end, const struct shm_peer *peer) {
    (void)pthread_mutex_lock(&end->noting);
    end->linked.end = peer->end;
    memcpy(end->linked.who, peer->who, sizeof end->linked.who);
    (void)pthread_mutex_unlock(&end->noting);
}

void mate_meet(struct shm *end, const struct roll_end *peer) {
    (void)pthread_mutex_lock(&end->noting);
    if (is(&end->linked.end, peer)) {
        end->linked.end.node = 0;
    }
    (void)pthread_mutex_unlock(&end->noting);
}

bool mate_lost(struct shm *end, struct shm_mute *mute) {
    (void)pthread_mutex_lock(&end->noting);
    bool lost = end->linked.end.node != 0 && !node_alive(end->linked.end.node);
    if (lost) {
        *mute = end->linked;
        end->linked.end.node = 0;
    }
    (void)pthread_mutex_unlock(&end->noting);
    return lost;
}

void mate_note(struct shm *end, const struct shm_peer *peer) {
    (void)pthread_mutex_lock(&end->noting);
    if (end->seen != NULL && end->mate.node == 0) {
        node_end_peer(end->seen, peer == NULL ? 0 : peer->node.pid, peer == NULL ? "" : proc_name(peer->node.exe));
        node_end_whom(end->seen, peer == NULL ? 0 : peer->node.id);
    }
    (void)pthread_mutex_unlock(&end->noting);
}

int mate_ring_fifo(const struct roll *roll, const struct roll_end *of, const char *kind) {
    char file[ROLL_FILE_MAX];
    roll_file(file, *of, kind);
    return tube_ring(roll->dir, file);
}

/* Where it cannot be kept open, it is opened for each byte. */
void mate_open_fifo(struct shm *end, struct bell *bell, const struct shm_peer *peer, const char *kind) {
    char file[ROLL_FILE_MAX];
    roll_file(file, peer->end, kind);
    bell->fifo = openat(end->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (bell->fifo >= 0) {
        bell_write(bell);
    } else {
        (void)tube_ring(end->roll.dir, file);
    }
}
