/* SPDX-License-Identifier: MIT
 *
 * The protocols of publishers and subscribers, proven on models: every interleaving of participants whose stores wait in buffers
 * and leave them in any order, except that none passes a fence, or a release store before it. With any one fence left out
 * something must go wrong, or the models would prove nothing.
 *
 *     floor (mem/cast.h)     a writer overwrites a record that a reader may be copying: nothing torn is believed
 *     seat (mech/fan.h)      a subscriber joins while a publisher that waits makes room: nothing it needs is overwritten
 *     hail (mem/hail.h)      two ringers, of whom one may take the other's bell: nobody sleeps on
 *     grasp (mech/bulk.c)    a publisher that waits for nobody uses a chunk again that a subscriber may be about to hold
 *     chunk (mem/pool.h)     a sender uses a chunk again that its receiver may hold: what is read in place stays as it was
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/race/states.h"

#define WORDS 8
#define CPUS 3
#define BUFFER 8
#define DONE 99
#define ASLEEP 98

struct state {
    uint8_t memory[WORDS];
    struct {
        uint8_t word[BUFFER], value[BUFFER], release[BUFFER], length;
    } buffer[CPUS];
    uint8_t pc[CPUS];
    uint8_t registers[CPUS][4];
};

struct model {
    const char *name;
    void (*step)(struct state *, int cpu, unsigned without);
    bool (*wrong)(const struct state *);
    int cpus;
    unsigned without; /* a bit for each thing that is left out */
};

static uint8_t load(const struct state *s, int cpu, uint8_t word) {
    for (int i = s->buffer[cpu].length - 1; i >= 0; i--) {
        if (s->buffer[cpu].word[i] == word) {
            return s->buffer[cpu].value[i];
        }
    }
    return s->memory[word];
}

static void put(struct state *s, int cpu, uint8_t word, uint8_t value, bool release) {
    uint8_t at = s->buffer[cpu].length++;
    s->buffer[cpu].word[at] = word;
    s->buffer[cpu].value[at] = value;
    s->buffer[cpu].release[at] = release;
}

/* May that store leave now? Not before an older one to its word, and a release store not before any older one. */
static bool may_leave(const struct state *s, int cpu, int which) {
    for (int i = 0; i < which; i++) {
        if (s->buffer[cpu].release[which] || s->buffer[cpu].word[i] == s->buffer[cpu].word[which]) {
            return false;
        }
    }
    return true;
}

static void leave(struct state *s, int cpu, int which) {
    s->memory[s->buffer[cpu].word[which]] = s->buffer[cpu].value[which];
    s->buffer[cpu].length--;
    for (int i = which; i < s->buffer[cpu].length; i++) {
        s->buffer[cpu].word[i] = s->buffer[cpu].word[i + 1];
        s->buffer[cpu].value[i] = s->buffer[cpu].value[i + 1];
        s->buffer[cpu].release[i] = s->buffer[cpu].release[i + 1];
    }
    int last = s->buffer[cpu].length;
    s->buffer[cpu].word[last] = s->buffer[cpu].value[last] = s->buffer[cpu].release[last] = 0;
}

static void fence(struct state *s, int cpu) {
    while (s->buffer[cpu].length != 0) {
        leave(s, cpu, 0);
    }
}

/* ---- the search ---- */

#define SEEN_MAX (1u << 20)

static unsigned wrong;

static void explore(struct state s, const struct model *model) {
    if (!states_new(&s)) {
        return;
    }
    bool quiet = true;
    for (int cpu = 0; cpu < model->cpus; cpu++) {
        quiet = quiet && s.buffer[cpu].length == 0 && s.pc[cpu] >= ASLEEP;
        for (int i = 0; i < s.buffer[cpu].length; i++) {
            if (may_leave(&s, cpu, i)) {
                struct state next = s;
                leave(&next, cpu, i);
                explore(next, model);
            }
        }
        if (s.pc[cpu] < ASLEEP && s.buffer[cpu].length < BUFFER) {
            struct state next = s;
            model->step(&next, cpu, model->without);
            explore(next, model);
        }
    }
    wrong += quiet && model->wrong(&s);
}

static unsigned search(const struct model *model, const struct state *begin) {
    states_begin(sizeof(struct state), SEEN_MAX);
    wrong = 0;
    explore(*begin, model);
    printf("floor: %s: %u states, %u of them wrong\n", model->name, states_count(), wrong);
    return wrong;
}

/* ---- the floor ---- */

enum { FLOOR, HEAD, FIRST, SECOND };
enum { NO_WRITER_FENCE = 1, NO_READER_FENCE = 2, NO_FLOOR = 4 };

/* A record of round 1 stands there, and is overwritten by one of round 2: its header is the round. */
static void overwrite(struct state *s, unsigned without) {
    switch (s->pc[0]++) {
    case 0:
        if ((without & NO_FLOOR) == 0) {
            put(s, 0, FLOOR, 2, true);
        }
        break;
    case 1:
        if ((without & NO_WRITER_FENCE) == 0) {
            fence(s, 0);
        }
        break;
    case 2:
        put(s, 0, HEAD, 0, false);
        break;
    case 3:
        put(s, 0, FIRST, 2, false);
        break;
    case 4:
        put(s, 0, SECOND, 2, false);
        break;
    default:
        put(s, 0, HEAD, 2, true);
        s->pc[0] = DONE;
        break;
    }
}

/* Copies what it takes for the record of round 1. Registers: header, first, second, floor. Without the load fence the floor
 * may have been read before all else. */
static void copy(struct state *s, unsigned without) {
    static const uint8_t in_order[] = {HEAD, FIRST, SECOND, FLOOR}, early[] = {FLOOR, HEAD, FIRST, SECOND};
    uint8_t word = ((without & NO_READER_FENCE) != 0 ? early : in_order)[s->pc[1]];
    s->registers[1][word == FLOOR ? 3 : word - HEAD] = load(s, 1, word);
    s->pc[1] = s->pc[1] == 3 ? DONE : s->pc[1] + 1;
}

static void floor_step(struct state *s, int cpu, unsigned without) {
    (cpu == 0 ? overwrite : copy)(s, without);
}

static bool is_torn(const struct state *s) {
    const uint8_t *got = s->registers[1];
    bool believed = got[3] <= 1;
    return believed && (got[0] != 1 || got[1] != 1 || got[2] != 1);
}

static unsigned floors(const char *name, unsigned without) {
    struct state begin = {.memory = {1, 1, 1, 1}};
    const struct model model = {name, floor_step, is_torn, 2, without};
    return search(&model, &begin);
}

static void nothing_torn_is_believed(void **state) {
    (void)state;
    assert_int_equal(floors("a record is overwritten", 0), 0);
    assert_int_not_equal(floors("without the writer's fence", NO_WRITER_FENCE), 0);
    assert_int_not_equal(floors("without the reader's fence", NO_READER_FENCE), 0);
    assert_int_not_equal(floors("without a floor", NO_FLOOR), 0);
}

/* ---- the seat ---- */

enum { RAISED, SEAT, RECEIVERS, OVERWRITTEN };
enum { NO_PUBLISHER_FENCE = 1, NO_SUBSCRIBER_FENCE = 2, NO_SECOND_LOOK = 4, NO_RELOOK = 8 };
#define NO_SEAT 9

static void make_room(struct state *s, unsigned without) {
    switch (s->pc[0]++) {
    case 0:
        s->registers[0][0] = load(s, 0, RECEIVERS);
        if (s->registers[0][0] != 0) {
            s->pc[0] = 3; /* knows it already: looks at its seat */
        }
        break;
    case 1:
        put(s, 0, RAISED, 1, true);
        break;
    case 2:
        if ((without & NO_PUBLISHER_FENCE) == 0) {
            fence(s, 0);
        }
        if ((without & NO_RELOOK) == 0 && load(s, 0, RECEIVERS) != s->registers[0][0]) {
            break;
        }
        put(s, 0, OVERWRITTEN, 1, false);
        s->pc[0] = DONE;
        break;
    default:
        if (load(s, 0, SEAT) != 0) {
            put(s, 0, OVERWRITTEN, 1, false);
        }
        s->pc[0] = DONE;
        break;
    }
}

static void join(struct state *s, unsigned without) {
    switch (s->pc[1]++) {
    case 0:
        put(s, 1, SEAT, 0, true);
        break;
    case 1:
        put(s, 1, RECEIVERS, 1, true);
        break;
    case 2:
        if ((without & NO_SUBSCRIBER_FENCE) == 0) {
            fence(s, 1);
        }
        break;
    default:
        if (load(s, 1, RAISED) != 0 && (without & NO_SECOND_LOOK) == 0) {
            put(s, 1, SEAT, 1, true); /* begins behind it */
        }
        s->pc[1] = DONE;
        break;
    }
}

static void seat_step(struct state *s, int cpu, unsigned without) {
    (cpu == 0 ? make_room : join)(s, without);
}

static bool is_robbed(const struct state *s) {
    return s->memory[OVERWRITTEN] != 0 && s->memory[SEAT] == 0;
}

static unsigned seats(const char *name, unsigned without) {
    struct state begin = {.memory = {[SEAT] = NO_SEAT}};
    const struct model model = {name, seat_step, is_robbed, 2, without};
    return search(&model, &begin);
}

static void nobody_is_robbed(void **state) {
    (void)state;
    assert_int_equal(seats("a subscriber joins", 0), 0);
    assert_int_not_equal(seats("without the publisher's fence", NO_PUBLISHER_FENCE), 0);
    assert_int_not_equal(seats("without the subscriber's fence", NO_SUBSCRIBER_FENCE), 0);
    assert_int_not_equal(seats("without the subscriber's look at the floor", NO_SECOND_LOOK), 0);
    assert_int_not_equal(seats("without the publisher's look at who has come", NO_RELOOK), 0);
}

/* ---- the hail ---- */

enum { WANTED, GIVEN, DATA }; /* DATA + n: of ringer n */
enum { NO_HEAVY = 1, NO_LOOK = 2 };

static void ring(struct state *s, int cpu) {
    switch (s->pc[cpu]++) {
    case 0:
        put(s, cpu, (uint8_t)(DATA + cpu), 1, true);
        break;
    case 1:
        s->pc[cpu] = load(s, cpu, WANTED) != 0 ? 2 : DONE;
        break;
    case 2: /* swap */
        fence(s, cpu);
        s->pc[cpu] = s->memory[WANTED] != 0 ? 3 : DONE;
        s->memory[WANTED] = 0;
        break;
    case 3: /* add */
        s->memory[GIVEN]++;
        break;
    default: /* FUTEX_WAKE */
        s->pc[0] = s->pc[0] == ASLEEP ? 0 : s->pc[0];
        s->pc[cpu] = DONE;
        break;
    }
}

static void rest(struct state *s, unsigned without) {
    bool all = load(s, 0, DATA + 1) != 0 && load(s, 0, DATA + 2) != 0;
    bool more = load(s, 0, DATA + 1) + load(s, 0, DATA + 2) != s->registers[0][1];
    switch (s->pc[0]) {
    case 0: /* takes what there is */
        s->registers[0][1] = (uint8_t)(load(s, 0, DATA + 1) + load(s, 0, DATA + 2));
        s->pc[0] = all ? DONE : 1;
        break;
    case 1:
        s->registers[0][0] = load(s, 0, GIVEN);
        s->pc[0] = 2;
        break;
    case 2:
        put(s, 0, WANTED, 1, true);
        s->pc[0] = 3;
        break;
    case 3:
        fence(s, 0);
        for (int cpu = 1; cpu < CPUS && (without & NO_HEAVY) == 0; cpu++) {
            fence(s, cpu);
        }
        s->pc[0] = 4;
        break;
    case 4:
        s->pc[0] = more && (without & NO_LOOK) == 0 ? 0 : 5;
        break;
    default: /* FUTEX_WAIT */
        s->pc[0] = s->memory[GIVEN] == s->registers[0][0] ? ASLEEP : 0;
        break;
    }
}

static void hail_step(struct state *s, int cpu, unsigned without) {
    if (cpu == 0) {
        rest(s, without);
    } else {
        ring(s, cpu);
    }
}

static bool sleeps_on(const struct state *s) {
    return s->pc[0] == ASLEEP && s->memory[DATA + 1] + s->memory[DATA + 2] != s->registers[0][1];
}

static unsigned hails(const char *name, unsigned without) {
    struct state begin = {.memory = {0}};
    const struct model model = {name, hail_step, sleeps_on, 3, without};
    return search(&model, &begin);
}

static void nobody_sleeps_on(void **state) {
    (void)state;
    assert_int_equal(hails("two ringers", 0), 0);
    assert_int_not_equal(hails("without the sleeper's heavy fence", NO_HEAVY), 0);
    assert_int_not_equal(hails("without a second look", NO_LOOK), 0);
}

/* ---- the chunk ---- */

enum { RECORD, PAYLOAD, CURSOR, MASK, NOTE };
enum { NOTED_LATE = 1, PLAIN_CURSOR = 2, DROPPED_EARLY = 4, NOTES_FIRST = 8, NO_NOTES = 16 };

/* Sends message 1 and then message 2 in the same chunk, as soon as it is free. The record is the generation. */
static void send_chunk(struct state *s, unsigned without) {
    uint8_t *r = s->registers[0]; /* cursor, mask, note, message */
    bool passed = r[0] >= r[3], held = (without & NO_NOTES) == 0 && r[1] != 0 && r[2] == r[3];
    switch (s->pc[0]++) {
    case 0:
        put(s, 0, PAYLOAD, ++r[3], false);
        break;
    case 1:
        put(s, 0, RECORD, r[3], true);
        s->pc[0] = r[3] == 2 ? DONE : 2;
        break;
    case 2:
    case 5:
        if ((s->pc[0] == 3) == ((without & NOTES_FIRST) == 0)) {
            r[0] = load(s, 0, CURSOR);
        }
        break;
    case 3:
        r[1] = load(s, 0, MASK);
        break;
    case 4:
        r[2] = load(s, 0, NOTE);
        break;
    default:
        s->pc[0] = passed && !held ? 0 : 2;
        break;
    }
}

/* Takes message 1, reads it in place, gives it back, and does the same with message 2. Registers: message, what was read. */
static void hold_chunk(struct state *s, unsigned without) {
    uint8_t *r = s->registers[1];
    bool late = (without & NOTED_LATE) != 0;
    switch (s->pc[1]++) {
    case 0:
        r[0] = load(s, 1, RECORD);
        s->pc[1] = r[0] == r[2] + 1 ? 1 : 0;
        break;
    case 1:
    case 4:
        if ((s->pc[1] == 2) != late) {
            put(s, 1, NOTE, r[0], false);
        }
        break;
    case 2:
    case 5:
        if ((s->pc[1] == 3) != late) {
            put(s, 1, MASK, 1, false);
        }
        break;
    case 3:
        put(s, 1, CURSOR, r[0], (without & PLAIN_CURSOR) == 0);
        break;
    case 6:
    case 7:
        if ((s->pc[1] == 7) == ((without & DROPPED_EARLY) == 0)) {
            r[1] = load(s, 1, PAYLOAD);
            r[3] |= r[1] != r[0];
        } else {
            put(s, 1, MASK, 0, true);
        }
        break;
    default:
        r[2] = r[0];
        s->pc[1] = r[0] == 2 ? DONE : 0;
        break;
    }
}

static void chunk_step(struct state *s, int cpu, unsigned without) {
    (cpu == 0 ? send_chunk : hold_chunk)(s, without);
}

static bool has_changed(const struct state *s) {
    return s->registers[1][3] != 0;
}

static unsigned chunks(const char *name, unsigned without) {
    struct state begin = {.memory = {0}};
    const struct model model = {name, chunk_step, has_changed, 2, without};
    return search(&model, &begin);
}

static void what_is_held_stays(void **state) {
    (void)state;
    assert_int_equal(chunks("a chunk is held", 0), 0);
    assert_int_not_equal(chunks("noted behind the cursor", NOTED_LATE), 0);
    assert_int_not_equal(chunks("without the release of the cursor", PLAIN_CURSOR), 0);
    assert_int_not_equal(chunks("given back before it was read", DROPPED_EARLY), 0);
    assert_int_not_equal(chunks("notes looked at before the cursor", NOTES_FIRST), 0);
    assert_int_not_equal(chunks("without a look at notes", NO_NOTES), 0);
}

/* ---- the grasp ---- */

enum { SAID, CHUNK, HELD };
enum { NO_FENCE_THERE = 1, NO_FENCE_HERE = 2, NO_LOOK_AGAIN = 4 };

static void reuse(struct state *s, unsigned without) {
    switch (s->pc[0]++) {
    case 0:
        put(s, 0, SAID, 2, true);
        break;
    case 1:
        if ((without & NO_FENCE_THERE) == 0) {
            fence(s, 0);
        }
        break;
    default:
        if (load(s, 0, HELD) == 0) {
            put(s, 0, CHUNK, 2, false);
        }
        s->pc[0] = DONE;
        break;
    }
}

/* Registers: what was read. */
static void grasp(struct state *s, unsigned without) {
    switch (s->pc[1]++) {
    case 0:
        put(s, 1, HELD, 1, false);
        break;
    case 1:
        if ((without & NO_FENCE_HERE) == 0) {
            fence(s, 1);
        }
        break;
    case 2:
        if (load(s, 1, SAID) > 1 && (without & NO_LOOK_AGAIN) == 0) {
            s->pc[1] = DONE; /* lost it */
        }
        break;
    default:
        s->registers[1][0] = load(s, 1, CHUNK);
        s->pc[1] = DONE;
        break;
    }
}

static void grasp_step(struct state *s, int cpu, unsigned without) {
    (cpu == 0 ? reuse : grasp)(s, without);
}

static bool slipped(const struct state *s) {
    return s->registers[1][0] == 2;
}

static unsigned grasps(const char *name, unsigned without) {
    struct state begin = {.memory = {[SAID] = 1, [CHUNK] = 1}};
    const struct model model = {name, grasp_step, slipped, 2, without};
    return search(&model, &begin);
}

static void nothing_slips(void **state) {
    (void)state;
    assert_int_equal(grasps("a chunk is grasped", 0), 0);
    assert_int_not_equal(grasps("without the publisher's fence", NO_FENCE_THERE), 0);
    assert_int_not_equal(grasps("without the subscriber's fence", NO_FENCE_HERE), 0);
    assert_int_not_equal(grasps("without a second look", NO_LOOK_AGAIN), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_torn_is_believed),
        cmocka_unit_test(nobody_is_robbed),
        cmocka_unit_test(nobody_sleeps_on),
        cmocka_unit_test(what_is_held_stays),
        cmocka_unit_test(nothing_slips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
