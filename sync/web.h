/* SPDX-License-Identifier: MIT
 *
 * Nodes and the edges that lead from each: which of them lie in circles, or lead into one.
 */
#ifndef SYNC_WEB_H
#define SYNC_WEB_H

#include <stdbool.h>
#include <stddef.h>

/* The edges of node n lead to to[start[n]] … to[start[n + 1] - 1]. */
struct web {
    unsigned count;
    unsigned *start; /* count + 1 */
    unsigned *to;
    bool *stays; /* count */
};

/* Memory for so many, zeroed. false: there is none; pairs with web_free, also then. */
bool web_make(struct web *, unsigned count, size_t edges);
void web_free(struct web *);

/* Strikes out (stays = false) whoever has no edge to one that stays, until nobody is left of whom that is true. false: no memory. */
bool web_prune(struct web *);

/* The shortest circle through a node, of those that stay: its length, and its nodes in order, at most `most` of them; 0: none, or no memory. */
unsigned web_circle(const struct web *, unsigned node, unsigned *circle, unsigned most);

#endif
