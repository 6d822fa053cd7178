/* SPDX-License-Identifier: MIT
 *
 * A ring of events with an index by hash, see toll.h. Only the oldest one ever leaves, so the chains of the index need no marks.
 */
#include "mech/toll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct toll_place {
    uint32_t event;
    uint32_t older; /* of one hash: its place plus 1 */
    uint64_t times;
};

uint32_t toll_places(uint64_t queue) {
    uint32_t places = TOLL_MIN;
    while (places < TOLL_MAX && (uint64_t)places * 2 * TOLL_SHARE <= queue) {
        places *= 2;
    }
    return places;
}

static uint32_t *head_of(const struct toll *t, uint32_t event) {
    return &t->head[(event * UINT32_C(2654435761)) >> 16 & (t->places - 1)];
}

static struct toll_place *find(const struct toll *t, uint32_t event) {
    for (uint32_t at = *head_of(t, event); at != 0; at = t->place[at - 1].older) {
        if (t->place[at - 1].event == event) {
            return &t->place[at - 1];
        }
    }
    return NULL;
}

bool toll_takes(struct toll *t, uint32_t event) {
    if (t->place == NULL) {
        struct toll_place *place = malloc(t->places * sizeof(*place));
        uint32_t *head = calloc(t->places, sizeof(*head));
        if (place == NULL || head == NULL) {
            free(place);
            free(head);
            return false;
        }
        t->place = place;
        t->head = head;
    }
    return !toll_is_full(t) || find(t, event) != NULL;
}

void toll_add(struct toll *t, uint32_t event, uint64_t times) {
    struct toll_place *place = find(t, event);
    if (place != NULL) {
        place->times += times;
        return;
    }
    uint32_t at = t->next++ & (t->places - 1), *head = head_of(t, event);
    t->place[at] = (struct toll_place){.event = event, .older = *head, .times = times};
    *head = at + 1;
}

uint32_t toll_see(const struct toll *t, uint64_t *times) {
    const struct toll_place *place = &t->place[t->first & (t->places - 1)];
    *times = place->times;
    return place->event;
}

void toll_take(struct toll *t, uint64_t times) {
    uint32_t at = t->first & (t->places - 1);
    struct toll_place *place = &t->place[at];
    place->times -= times;
    if (place->times == 0) {
        uint32_t *link = head_of(t, place->event);
        while (*link != at + 1) {
            link = &t->place[*link - 1].older;
        }
        *link = place->older;
        t->first++;
    }
}

uint64_t toll_sum(const struct toll *t) {
    uint64_t sum = 0;
    for (uint32_t i = t->first; i != t->next; i++) {
        sum += t->place[i & (t->places - 1)].times;
    }
    return sum;
}

void toll_free(struct toll *t) {
    free(t->place);
    free(t->head);
    *t = (struct toll){.places = t->places};
}

int toll_read(const char *address, const void *data, size_t size, uint32_t *event) {
    if (size != TOLL_WORD) {
        return err_say(size > TOLL_WORD ? EMSGSIZE : EINVAL, "%s: an event is one word of %u bytes, not %zu", address,
                       TOLL_WORD, size);
    }
    memcpy(event, data, TOLL_WORD);
    return *event >> 31 == 0
               ? 0
               : err_say(EINVAL, "%s: an event has 31 bits, and the top bit of %#x is not among them", address, *event);
}
