/* SPDX-License-Identifier: MIT
 *
 * A record of a stream of which a part was taken becomes shorter than that: its writer lies, and the reader reads nothing that is not the
 * record's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mech/shm.h"
#include "tests/member.h"

#define SOON thirl_in_ms(20000)

/* The first record of the lane that this process writes. */
static struct lane_head *first_record(void) {
    char line[600];
    unsigned long from = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && from == 0 && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, " rw-s 00000000 ") != NULL && strstr(line, ".tx") != NULL) {
            (void)sscanf(line, "%lx", &from);
        }
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return from == 0 ? NULL : (struct lane_head *)(from + seg_round(sizeof(struct shm_tx)));
}

static int shrink(bool in_place) {
    static char data[4000];
    thirl *reader, *writer;
    thirl_msg *msg = NULL;
    size_t size = 0;
    CHECK(thirl_open(&reader, THIRL_READ, "shm://shrink", NULL) == 0);
    CHECK(thirl_open(&writer, THIRL_WRITE, "shm://shrink", NULL) == 0);
    CHECK(thirl_send(writer, data, 1000, SOON) == 0);
    CHECK(thirl_recv(reader, data, 600, &size, SOON) == 0 && size == 600);
    struct lane_head *head = first_record();
    CHECK(head != NULL && head->word >> 32 == 1000);
    head->word = (uint32_t)head->word | UINT64_C(8) << 32;
    int rc = in_place ? thirl_take(reader, &msg, SOON) : thirl_recv(reader, data, sizeof data, &size, SOON);
    CHECK(rc == -THIRL_EFORMAT && strstr(thirl_why(), "damaged record") != NULL);
    CHECK(thirl_close(&reader, SOON) == 0);
    (void)thirl_close(&writer, THIRL_NOW);
    return 0;
}

static int do_is_refused(void *nothing) {
    (void)nothing;
    return shrink(false);
}
IN_A_CHILD(is_refused)

static int do_is_refused_in_place(void *nothing) {
    (void)nothing;
    return shrink(true);
}
IN_A_CHILD(is_refused_in_place)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_refused), cmocka_unit_test(is_refused_in_place)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
