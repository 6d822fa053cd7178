/* SPDX-License-Identifier: MIT
 *
 * Nodes and edges.
 */
#include "sync/web.h"

#include <stdlib.h>
#include <string.h>

bool web_make(struct web *web, unsigned count, size_t edges) {
    *web = (struct web){.count = count,
                        .start = calloc((size_t)count + 1, sizeof *web->start),
                        .to = calloc(edges + 1, sizeof *web->to),
                        .stays = calloc((size_t)count + 1, sizeof *web->stays)};
    return web->start != NULL && web->to != NULL && web->stays != NULL;
}

void web_free(struct web *web) {
    free(web->start);
    free(web->to);
    free(web->stays);
    *web = (struct web){.count = 0};
}

/* The same edges the other way round. */
static bool turn_round(const struct web *web, struct web *back) {
    size_t edges = web->start[web->count];
    unsigned *next = malloc(((size_t)web->count + 1) * sizeof *next);
    if (!web_make(back, web->count, edges) || next == NULL) {
        free(next);
        return false;
    }
    for (size_t i = 0; i < edges; i++) back->start[web->to[i] + 1]++;
    for (unsigned i = 0; i < web->count; i++) back->start[i + 1] += back->start[i];
    memcpy(next, back->start, ((size_t)web->count + 1) * sizeof *next);
    for (unsigned i = 0; i < web->count; i++) {
        for (unsigned j = web->start[i]; j < web->start[i + 1]; j++) back->to[next[web->to[j]]++] = i;
    }
    free(next);
    return true;
}

bool web_prune(struct web *web) {
    struct web back;
    unsigned *left = calloc((size_t)web->count + 1, sizeof *left),
             *struck = left == NULL ? NULL : malloc((web->count + 1) * sizeof *struck);
    bool fits = turn_round(web, &back) && struck != NULL;
    unsigned tail = 0;
    for (unsigned i = 0; fits && i < web->count; i++) {
        left[i] = web->start[i + 1] - web->start[i];
        web->stays[i] = web->stays[i] && left[i] != 0;
        if (!web->stays[i]) struck[tail++] = i;
    }
    for (unsigned head = 0; fits && head < tail; head++) {
        for (unsigned j = back.start[struck[head]]; j < back.start[struck[head] + 1]; j++) {
            unsigned from = back.to[j];
            if (web->stays[from] && --left[from] == 0) {
                web->stays[from] = false;
                struck[tail++] = from;
            }
        }
    }
    web_free(&back);
    free(left);
    free(struck);
    return fits;
}

/* Breadth first from a node back to it; came[x] is where x was reached from, plus one. The last of the circle, or count: there is none. */
static unsigned search(const struct web *web, unsigned node, unsigned *came, unsigned *queue) {
    unsigned head = 0, tail = 0;
    for (queue[tail++] = node; head < tail; head++) {
        for (unsigned i = web->start[queue[head]]; i < web->start[queue[head] + 1]; i++) {
            unsigned next = web->to[i];
            if (next == node) {
                return queue[head];
            }
            if (web->stays[next] && came[next] == 0) {
                came[next] = queue[head] + 1;
                queue[tail++] = next;
            }
        }
    }
    return web->count;
}

unsigned web_circle(const struct web *web, unsigned node, unsigned *circle, unsigned most) {
    unsigned *came = web->stays[node] ? calloc((size_t)web->count + 1, 2 * sizeof *came) : NULL, length = 0;
    if (came == NULL) {
        return 0;
    }
    unsigned last = search(web, node, came, came + web->count);
    if (last != web->count) {
        length = 1;
        for (unsigned at = last; at != node; at = came[at] - 1) length++;
        for (unsigned at = last, i = length; i > 0; at = at == node ? at : came[at] - 1) {
            i--;
            if (i < most) circle[i] = at;
        }
    }
    free(came);
    return length;
}
