/* SPDX-License-Identifier: MIT
 *
 * A cache that says what is not so: sizes that do not fit, buckets and queues that lead elsewhere, blocks that are none. Who opens, finds, puts
 * or removes is told, and an audit finds each word that lies.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/thirl.h"
#include "mem/node.h"
#include "mem/store.h"
#include "tests/room.h"

#define BYTES (UINT64_C(1) << 16)
#define BUCKETS 16
#define SEATS 8
#define KEYS 6

static unsigned char *base;
static struct shelf shelf;

static int begin(void **state) {
    base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? -1 : room_begin(state);
}

static struct shelf_key key_of(uint32_t key) {
    static char text[16];
    int n = snprintf(text, sizeof text, "key %u", key);
    return shelf_key(&shelf, text, (uint16_t)n);
}

static int put_until(uint32_t key, uint32_t bytes, int64_t expiry) {
    static const char value[BYTES];
    struct shelf_key k = key_of(key);
    struct store_new what = {.value = value, .bytes = bytes, .expiry = expiry};
    return store_put(&shelf, &k, &what);
}

static int put(uint32_t key, uint32_t bytes) {
    return put_until(key, bytes, INT64_MAX);
}

static int drop(uint32_t key) {
    struct shelf_key k = key_of(key);
    return store_remove(&shelf, &k, false);
}

static int find(uint32_t key, struct shelf_hit *hit) {
    struct shelf_key k = key_of(key);
    bool late;
    return shelf_find(&shelf, &k, hit, &late);
}

static int audit(void) {
    uint64_t where;
    return shelf_audit(&shelf, &where);
}

/* A new one, which this process has locked, with some items. */
static int clear(void **state) {
    static struct node_end *line;
    (void)state;
    memset(base, 0, BYTES);
    shelf_begin(base, BYTES, BUCKETS, SEATS, 77);
    if ((node_id() == 0 && node_end_take(&line, "shelf", 0, true) != 0) ||
        shelf_check(&shelf, base, BYTES, node_id(), "the shelf") != 0 || pin_join(&shelf.pins) != 0 ||
        arena_lock(&shelf.arena, 0) != 0) {
        return -1;
    }
    for (uint32_t key = 0; key < KEYS; key++) {
        if (put(key, 100) != 0) {
            return -1;
        }
    }
    return audit();
}

static uint64_t place_of(uint32_t key) {
    struct shelf_key k = key_of(key);
    uint64_t word, at = 0;
    assert_int_equal(shelf_locate(&shelf, &k, &word, &at), 0);
    assert_int_not_equal(at, 0);
    return at;
}

static struct item *item_of(uint32_t key) {
    return shelf_item(&shelf, place_of(key));
}

static struct arena_block *block_of(uint32_t key) {
    return (void *)(base + place_of(key) - ARENA_HEAD);
}

static struct sieve_queue *queue_of(enum sieve_list list) {
    return &shelf.head->sieve.queue[list];
}

/* ---- sizes ---- */

static void sizes_that_do_not_fit_are_told(void **state) {
    (void)state;
    struct shelf_head *head = shelf.head, right = *head;
    struct shelf copy;
    const struct {
        uint64_t size, bytes, buckets;
        uint32_t seats;
    } wrong[] = {
        {BYTES, BYTES + 1, BUCKETS, SEATS},          {UINT64_MAX, ARENA_MOST + 64, BUCKETS, SEATS},
        {BYTES, BYTES, SIEVE_GHOST_WAYS / 2, SEATS}, {BYTES, BYTES, 2 * BYTES, SEATS},
        {BYTES, BYTES, BUCKETS + 1, SEATS},          {BYTES, BYTES, BUCKETS, 0},
        {BYTES, BYTES, BUCKETS, UINT32_MAX},         {BYTES, BYTES, BUCKETS, BYTES / sizeof(struct pin_seat)},
        {BYTES, BYTES, BUCKETS, SEATS + 1}, /* its blocks would begin elsewhere */
        {sizeof *head - 1, BYTES, BUCKETS, SEATS},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        head->bytes = wrong[i].bytes;
        head->buckets = wrong[i].buckets;
        head->seats = wrong[i].seats;
        assert_int_equal(shelf_check(&copy, base, wrong[i].size, 1, "this shelf"), -THIRL_EFORMAT);
        assert_non_null(strstr(thirl_why(), "this shelf"));
        *head = right;
    }
    head->lot.version++;
    assert_int_equal(shelf_check(&copy, base, BYTES, 1, "this shelf"), -THIRL_EVERSION);
    *head = right;
    assert_int_equal(shelf_check(&copy, base, BYTES, 1, "this shelf"), 0);
}

/* ---- each word ---- */

static void each_word_that_lies_is_found(void **state) {
    (void)state;
    struct item *item = item_of(2);
    struct sieve_queue *queue = queue_of(item->list == SIEVE_MAIN ? SIEVE_MAIN : SIEVE_SMALL);
    struct arena *arena = &shelf.head->arena;
    uint64_t at = place_of(2), *first = &shelf_bucket(&shelf, item->hash)->first, more = item->newer;
    uint64_t empty = 0;
    while (shelf.bucket[empty].first != 0) empty++;
    assert_true(queue->items == KEYS && queue->newest != at && queue->oldest != at);
    const struct {
        uint64_t *word, value;
    } lies[] = {
        {&queue->newest, 8},
        {&queue->newest, shelf.end},
        {&queue->newest, at},
        {&queue->oldest, at},
        {&queue->bytes, 64},
        {&queue->items, KEYS + 1},
        {&queue_of(SIEVE_LIMBO)->newest, at},
        {&queue_of(SIEVE_LIMBO)->items, 1},
        {&item->newer, at},
        {&item->older, 24},
        {&item->older, more},
        {&item->list, SIEVE_LIMBO},
        {&item->hash, item->hash + 1},
        {&item->next, 8},
        {&item->next, at},
        {first, 8},
        {first, at + 16},
        {first, 0},
        {&shelf.bucket[empty].first, at},
        {&arena->used, 64},
        {&arena->blocks, KEYS + 1},
        {&block_of(2)->seal, 0},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t right = *lies[i].word;
        *lies[i].word = lies[i].value;
        assert_int_equal(audit(), -THIRL_EFORMAT);
        *lies[i].word = right;
        assert_int_equal(audit(), 0);
    }
    item->value_bytes = 5000; /* more than its block has */
    assert_int_equal(audit(), -THIRL_EFORMAT);
    item->value_bytes = 100;
    queue->newest = shelf.first + ARENA_HEAD + 16; /* within a block, and empty there: as it should be, but for that */
    shelf_item(&shelf, queue->newest)->list = (uint64_t)(queue - queue_of(0));
    assert_int_equal(audit(), -THIRL_EFORMAT);
}

/* An item of its own, whose block the arena has, but which no queue has; and one that two buckets have. */
static void what_is_not_counted_is_found(void **state) {
    (void)state;
    uint64_t at;
    assert_int_equal(arena_alloc(&shelf.arena, 100, &at, NULL), 0);
    assert_int_equal(audit(), -THIRL_EFORMAT);
    assert_int_equal(arena_free(&shelf.arena, at), 0);
    assert_int_equal(audit(), 0);
    struct item *item = item_of(2);
    struct sieve_queue *queue = queue_of(item->list == SIEVE_MAIN ? SIEVE_MAIN : SIEVE_SMALL);
    struct sieve_queue right = *queue;
    uint64_t bytes = shelf_block(&shelf, queue->oldest), newer = shelf_item(&shelf, queue->oldest)->newer;
    queue->oldest = newer; /* all of the queue fits together, but it has one less than the buckets */
    queue->items--;
    queue->bytes -= bytes;
    shelf_item(&shelf, newer)->older = 0;
    assert_int_equal(audit(), -THIRL_EFORMAT);
    shelf_item(&shelf, newer)->older = right.oldest;
    *queue = right;
    assert_int_equal(audit(), 0);
}

static void what_is_gone_and_still_found_is_told(void **state) {
    (void)state;
    struct shelf_hit hit;
    assert_int_equal(find(2, &hit), 0);
    assert_int_equal(drop(2), 0); /* pinned still */
    assert_int_equal(audit(), 0);
    struct item *item = shelf_item(&shelf, hit.at);
    uint64_t *first = &shelf_bucket(&shelf, item->hash)->first;
    item->next = *first;
    *first = hit.at;
    assert_int_equal(audit(), -THIRL_EFORMAT);
}

/* ---- finding ---- */

/* A key whose hash is another one's, and which is none. */
static struct shelf_key none_beside(uint32_t key, uint64_t bit) {
    struct shelf_key k = key_of(key);
    k.hash ^= bit;
    return k;
}

static void who_goes_in_a_circle_is_told(void **state) {
    (void)state;
    struct shelf_key none = none_beside(2, UINT64_C(1) << 40);
    struct shelf_hit hit;
    uint64_t at = place_of(2), word;
    item_of(2)->next = at;
    assert_int_equal(store_remove(&shelf, &none, false), -THIRL_EFORMAT);
    assert_int_equal(shelf_copy(&shelf, &none, NULL, 0, &hit), -THIRL_EFORMAT);
    item_of(2)->next = 0;
    uint64_t *first = &shelf_bucket(&shelf, item_of(2)->hash)->first;
    *first = at + 64; /* it lies in there, but has no key */
    item_of(4)->next = 0;
    assert_int_equal(shelf_locate_item(&shelf, at, &word), -THIRL_EFORMAT);
    *first = at;
    shelf_item(&shelf, at)->next = at;
    uint64_t stray = place_of(4);
    shelf_item(&shelf, stray)->hash = shelf_item(&shelf, at)->hash; /* says that it is there */
    assert_int_equal(shelf_locate_item(&shelf, stray, &word), -THIRL_EFORMAT);
}

static void what_lies_about_its_size_is_not_found(void **state) {
    (void)state;
    struct shelf_hit hit;
    item_of(2)->value_bytes = UINT32_MAX;
    assert_int_equal(find(2, &hit), -ENOENT);
    struct shelf_key k = key_of(2);
    assert_int_equal(shelf_copy(&shelf, &k, NULL, 0, &hit), -ENOENT);
    assert_int_equal(drop(2), -ENOENT);
}

/* The bucket lies where the reader writes down his pin, so it changes whenever he looks. */
static void who_is_always_too_late_gives_up(void **state) {
    (void)state;
    struct shelf_hit hit;
    struct shelf_key k = key_of(2);
    uint64_t at = place_of(2);
    struct pin_slot *slot = &shelf.pins.seat[shelf.pins.mine[0] - 1].slot[pin_hint];
    shelf.bucket = (struct shelf_bucket *)(void *)slot - (k.hash & shelf.mask);
    shelf_bucket(&shelf, k.hash)->first = at;
    assert_int_equal(find(2, &hit), -EAGAIN);
    assert_int_equal(slot->place, 0);
}

/* ---- changing ---- */

static void what_has_not_expired_stays(void **state) {
    (void)state;
    struct shelf_key k = key_of(2);
    struct shelf_hit hit;
    assert_int_equal(store_remove(&shelf, &k, true), -ENOENT);
    assert_int_equal(find(2, &hit), 0);
    pin_free(&shelf.pins, hit.pin);
    assert_int_equal(put_until(2, 100, clock_now() - 1), 0);
    assert_int_equal(store_remove(&shelf, &k, true), -ENOENT);
    assert_int_equal(shelf.head->expired, 1);
    assert_int_equal(find(2, &hit), -ENOENT);
    assert_int_equal(audit(), 0);
}

static void what_has_expired_goes_first(void **state) {
    (void)state;
    for (uint32_t key = 0; key < KEYS; key++) {
        assert_int_equal(drop(key), 0);
    }
    uint32_t half = (uint32_t)(shelf_most(&shelf) - 200);
    assert_int_equal(put_until(1, half, clock_now() - 1), 0);
    assert_int_equal(put(2, half), 0);
    assert_int_equal(put(3, half), 0);
    assert_int_equal(shelf.head->expired, 1);
    assert_int_equal(shelf.head->evicted, 0);
    assert_int_equal(put(4, 2 * half + 1000), -ENOSPC); /* though all goes */
    assert_int_equal(shelf.head->evicted, 2);
    assert_int_equal(audit(), 0);
}

/* Where the lists of free blocks lie, nothing is put, and nothing has changed for who looks. */
static void nothing_is_put_into_what_is_torn(void **state) {
    (void)state;
    struct shelf_hit hit;
    struct arena *arena = &shelf.head->arena;
    assert_int_equal(drop(2), 0);
    struct arena right = *arena;
    uint64_t *head = NULL;
    for (unsigned list = 0; list < ARENA_LISTS; list++) {
        head = arena->list[list] != 0 ? &arena->list[list] : head;
    }
    assert_non_null(head);
    struct arena_block *hole = (void *)(base + *head);
    *head = 24;
    assert_int_equal(put(2, 100), -THIRL_EFORMAT);
    *arena = right;
    hole->last = place_of(3) - ARENA_HEAD; /* is not the first: found out when it is taken */
    assert_int_equal(put(2, 100), -THIRL_EFORMAT);
    hole->last = 0;
    assert_int_equal(find(2, &hit), -ENOENT);
    assert_int_equal(put(2, 100), 0);
    assert_int_equal(audit(), 0);
}

static void no_item_enters_a_queue_that_lies(void **state) {
    (void)state;
    struct shelf_hit hit;
    struct sieve_queue *small = queue_of(SIEVE_SMALL), right = *small;
    small->newest = BYTES;
    assert_int_equal(put(KEYS, 100), -THIRL_EFORMAT);
    assert_int_equal(put(2, 100), -THIRL_EFORMAT);
    *small = right;
    assert_int_equal(find(KEYS, &hit), -ENOENT);
    struct item *item = item_of(2);
    item->list = SIEVE_LISTS; /* in which queue is it? */
    assert_int_equal(drop(2), -THIRL_EFORMAT);
    assert_int_equal(put(2, 100), -THIRL_EFORMAT);
    item->list = SIEVE_SMALL;
    assert_int_equal(audit(), 0);
}

static void what_cannot_be_freed_is_told(void **state) {
    (void)state;
    block_of(2)->before = 16;
    assert_int_equal(drop(2), -THIRL_EFORMAT);
    assert_int_equal(queue_of(SIEVE_LIMBO)->items, 1);
    assert_int_equal(put(3, 100), 0); /* others are not kept from it */
    queue_of(SIEVE_LIMBO)->oldest = 8;
    store_sweep(&shelf, UINT64_MAX);
    assert_int_equal(queue_of(SIEVE_LIMBO)->items, 1);
    block_of(4)->before = 16;
    assert_int_equal(put(4, 120), -THIRL_EFORMAT); /* the old one */
}

/* Fills all of it, and then as `lie` says nobody knows who is to go. */
static void expect_no_room(void (*lie)(uint64_t oldest)) {
    assert_int_equal(clear(NULL), 0);
    for (uint32_t key = 0; shelf.head->evicted == 0; key++) {
        assert_int_equal(put(key, 1000), 0);
    }
    assert_int_equal(audit(), 0);
    struct sieve_queue *small = queue_of(SIEVE_SMALL);
    uint64_t evicted = shelf.head->evicted;
    lie(small->oldest);
    assert_int_equal(put(1000, 3000), -THIRL_EFORMAT);
    assert_int_equal(shelf.head->evicted, evicted);
}

static void lead_nowhere(uint64_t oldest) {
    (void)oldest;
    queue_of(SIEVE_SMALL)->oldest = 8;
}
static void take_its_bucket(uint64_t oldest) {
    shelf_bucket(&shelf, shelf_item(&shelf, oldest)->hash)->first = 8;
}
static void cut_its_queue(uint64_t oldest) {
    shelf_item(&shelf, oldest)->newer = 12;
}
static void take_its_block(uint64_t oldest) {
    ((struct arena_block *)(void *)(base + oldest - ARENA_HEAD))->before = 16;
}

static void who_is_to_go_is_not_known(void **state) {
    (void)state;
    expect_no_room(lead_nowhere);
    expect_no_room(take_its_bucket);
    expect_no_room(cut_its_queue);
    expect_no_room(take_its_block);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(sizes_that_do_not_fit_are_told),   T(each_word_that_lies_is_found),
        T(what_is_not_counted_is_found),     T(what_is_gone_and_still_found_is_told),
        T(who_goes_in_a_circle_is_told),     T(what_lies_about_its_size_is_not_found),
        T(who_is_always_too_late_gives_up),  T(what_has_not_expired_stays),
        T(what_has_expired_goes_first),      T(nothing_is_put_into_what_is_torn),
        T(no_item_enters_a_queue_that_lies), T(what_cannot_be_freed_is_told),
        T(who_is_to_go_is_not_known),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
