/* SPDX-License-Identifier: MIT
 *
 * What it costs to read the latest value of a state: ping reads it again and again, pong has written it. Floor: a bare sequence lock, which
 * is read by two loads of its number and a copy.
 */
#include <stdlib.h>
#include <string.h>

#include <thirl/state.h>

#include "bench/end.h"
#include "bench/floor.h"

/* Processors tell a load from an earlier store by the last 12 bits of their addresses first, and wait where those are the same. So both read into
 * a place of their page where neither has its number, nor a value of up to 1 KiB. */
#define PAGE 4096
#define PLACE 2560

static unsigned char *buffer_of(struct run *run, unsigned char **block) {
    *block = aligned_alloc(PAGE, (PLACE + run->size + PAGE - 1) / PAGE * PAGE);
    return *block != NULL ? *block + PLACE : NULL;
}

/* A call, as any library's is. */
__attribute__((noinline)) static void read_bare(const uint64_t *number, const unsigned char *value, void *buffer,
                                                size_t size) {
    uint64_t before;
    do {
        before = stage_load(number);
        memcpy(buffer, value, size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((before & 1) != 0 || __atomic_load_n(number, __ATOMIC_RELAXED) != before);
    stage_use(buffer);
}

static int ping_bare(struct run *run) {
    uint64_t *number = (uint64_t *)(void *)run->control;
    unsigned char *block, *buffer = buffer_of(run, &block);
    if (!buffer) {
        return stage_fail(run, STAGE_PING, "no memory for the value");
    }
    stage_meet(run, STAGE_PING);
    STAGE_REPEAT(run, read_bare(number, run->control + STAGE_PAIR, buffer, run->size));
    free(block);
    return 0;
}

static int pong_bare(struct run *run) {
    memset(run->control + STAGE_PAIR, 7, run->size);
    stage_store((uint64_t *)(void *)run->control, 2);
    stage_meet(run, STAGE_PONG);
    return 0;
}

const struct work floor_value = {.ping = ping_bare, .pong = pong_bare, .area = true};

static thirl_state *open_state(struct run *run, enum stage_side side) {
    struct thirl_state_options options = {.size = sizeof options, .max = run->size};
    thirl_state *state = NULL;
    if (thirl_state_open(&state, run->address, &options)) {
        (void)end_fail(run, side, "thirl_state_open");
    }
    return state;
}

static int ping(struct run *run) {
    thirl_state *state = open_state(run, STAGE_PING);
    size_t size = 0;
    if (!state) {
        return -1;
    }
    unsigned char *block, *buffer = buffer_of(run, &block);
    if (!buffer) {
        return stage_fail(run, STAGE_PING, "no memory for the value");
    }
    stage_meet(run, STAGE_PING);
    int bad = 0;
    STAGE_REPEAT(run, bad |= thirl_state_get(state, buffer, run->size, &size, NULL));
    thirl_state_close(&state);
    free(block);
    return bad || size != run->size ? end_fail(run, STAGE_PING, "thirl_state_get") : 0;
}

static int pong(struct run *run) {
    static unsigned char value[STAGE_CONTROL];
    thirl_state *state = open_state(run, STAGE_PONG);
    if (!state) {
        return -1;
    }
    memset(value, 7, run->size);
    int bad = thirl_state_set(state, value, run->size, THIRL_SOON);
    stage_meet(run, STAGE_PONG);
    thirl_state_close(&state);
    return bad ? end_fail(run, STAGE_PONG, "thirl_state_set") : 0;
}

const struct work thirl_value = {.ping = ping, .pong = pong};
