/* SPDX-License-Identifier: MIT
 *
 * Channels that are made while the registry refuses something: whoever opens or sends is told, nothing is left behind, and then it goes well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/fault/fault.h"
#include "tests/room.h"

#define MOST 60
#define SOON thirl_in_ms(8000)

static const struct scene {
    const char *address;
    enum thirl_role from, to;
} scenes[] = {
    {"shm://made", THIRL_PAIR, THIRL_PAIR},         {"shm://made?pool=1M", THIRL_PUB, THIRL_SUB},
    {"shm://made?pool=1M", THIRL_PUSH, THIRL_PULL}, {"auto://made", THIRL_PAIR, THIRL_PAIR},
    {"mq://made", THIRL_PAIR, THIRL_PAIR},
};

static thirl *from, *to;
static char byte, said[32][512];
static unsigned sayings, descriptors;

/* A refusal has a sentence, which is kept. */
static int told(int rc) {
    fault_armed = false;
    if (rc < 0) {
        assert_true(thirl_why()[0] != '\0');
        bool known = false;
        for (unsigned i = 0; i < sayings; i++) known = known || strcmp(said[i], thirl_why()) == 0;
        if (!known && sayings < sizeof said / sizeof *said) {
            (void)strncpy(said[sayings++], thirl_why(), sizeof *said - 1);
        }
    }
    fault_armed = true;
    return rc;
}

static bool was_said(const char *part) {
    for (unsigned i = 0; i < sayings; i++) {
        if (strstr(said[i], part) != NULL) return true;
    }
    return false;
}

/* As far as it goes, one or the other first; true: a message came. What a process has open besides is still open then, and nothing more. */
static bool try_all(const struct scene *scene, bool backwards) {
    thirl **ends[2] = {&to, &from};
    const enum thirl_role roles[2] = {scene->to, scene->from};
    int rc = told(thirl_open(ends[backwards], roles[backwards], scene->address, NULL));
    rc = rc != 0 ? rc : told(thirl_open(ends[!backwards], roles[!backwards], scene->address, NULL));
    rc = rc != 0 ? rc : told(thirl_send(from, "x", 1, thirl_in_ms(20)));
    rc = rc != 0 ? rc : told(thirl_recv(to, &byte, 1, NULL, thirl_in_ms(20)));
    fault_armed = false;
    assert_true(thirl_close(&from, THIRL_NOW) >= 0 && thirl_close(&to, THIRL_NOW) >= 0);
    assert_true(room_entries("chan") <= 0);
    assert_true(descriptors == 0 || room_descriptors() == descriptors);
    return rc == 0;
}

/* Nothing is refused: it comes, on a busy machine not at the first try. */
static bool comes(const struct scene *scene, bool backwards) {
    bool came = false;
    for (int tries = 0; tries < 100 && !came; tries++) came = try_all(scene, backwards);
    return came;
}

static void try_with(const struct scene *scene, bool backwards, const char *name) {
    const size_t call = fault_find(name);
    for (unsigned pass = 1; pass < MOST; pass++) {
        const struct fault fault = {call, pass, fault_calls[call].errors[0], false};
        fault_set(&fault);
        fault_armed = true;
        bool came = try_all(scene, backwards);
        if (fault_site == 0) {
            assert_true(came || comes(scene, backwards));
            return;
        }
    }
}

static void what_is_refused_is_told_and_leaves_nothing(void **state) {
    (void)state;
    static const char *const calls[] = {"linkat", "fchmod", "ftruncate", "faccessat"};
    for (size_t i = 0; i < 2 * sizeof scenes / sizeof *scenes; i++) {
        const struct scene *scene = &scenes[i / 2];
        descriptors = 0;
        fault_set(&(const struct fault){0});
        assert_true(comes(scene, i % 2 != 0)); /* what a process opens once */
        descriptors = room_descriptors();
        for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
            try_with(scene, i % 2 != 0, calls[k]);
        }
    }
    assert_true(was_said("what was chosen cannot be written to the registry"));
    assert_true(was_said("cannot be made in the registry"));
    assert_true(was_said("cannot have a file of"));
    assert_true(was_said("directory in the registry cannot be written"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused_is_told_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
