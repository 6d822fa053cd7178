/* SPDX-License-Identifier: MIT
 *
 * Helpers of tests with many peers, see crew.h.
 */
#define _GNU_SOURCE
#include "tests/crew.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/room.h"

char crew_address[200];

void crew_at(const char *kind, const char *options) {
    static unsigned turn; /* what a test that failed has left open does not harm the next one */
    char name[80];
    (void)snprintf(name, sizeof name, "%s/%u", peer_directory, ++turn);
    if (strncmp(kind, "tcp", 3) == 0) {
        (void)snprintf(crew_address, sizeof crew_address, "tcp://127.0.0.1:%u",
                       12000 + ((unsigned)getpid() * 64 + turn) % 18000);
    } else if (snprintf(crew_address, sizeof crew_address, "%s", kind) > 0) {
        char *at = strstr(crew_address, "%s"), rest[64];
        (void)snprintf(rest, sizeof rest, "%s", at + 2);
        (void)snprintf(at, sizeof crew_address - (size_t)(at - crew_address), "%s%s", name, rest + 2);
    }
    if (options != NULL) {
        size_t used = strlen(crew_address);
        (void)snprintf(crew_address + used, sizeof crew_address - used, "%c%s",
                       strchr(crew_address, '?') != NULL ? '&' : '?', options);
    }
}

void crew_filter(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
#if !defined(__SANITIZE_ADDRESS__) /* it has only one of both */
    } else if (room_is_brief()) {
        cmocka_set_skip_filter("* unix abstract");
#endif
    }
}

thirl *crew_open(enum thirl_role role) {
    thirl *end = NULL;
    if (thirl_open(&end, role, crew_address, NULL) != 0) {
        fail_msg("%s", thirl_why());
    }
    return end;
}

void crew_close(thirl **ends, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        assert_true(thirl_close(&ends[i], THIRL_NOW) >= 0);
    }
}

static char text[1 << 20];

static void fill(uint64_t number, size_t size) {
    memset(text, (int)(number % 251), size);
    memcpy(text, &number, sizeof number);
}

int crew_send(thirl *end, uint64_t number, size_t size, thirl_time until) {
    fill(number, size);
    return thirl_send(end, text, size, until);
}

int crew_take(thirl *end, struct crew_message *message, thirl_time until) {
    thirl_msg *msg = NULL;
    *message = (struct crew_message){.number = UINT64_MAX};
    int rc = thirl_take(end, &msg, until);
    if (rc == 0) {
        assert_true(thirl_msg_size(msg) >= sizeof message->number && thirl_msg_size(msg) <= sizeof text);
        memcpy(&message->number, thirl_msg_data(msg), sizeof message->number);
        fill(message->number, thirl_msg_size(msg));
        assert_memory_equal(thirl_msg_data(msg), text, thirl_msg_size(msg));
        message->lost = thirl_msg_lost(msg);
        message->again = thirl_msg_again(msg) != 0;
    }
    thirl_free(&msg);
    return rc;
}

struct crew_message crew_next(thirl *end) {
    struct crew_message message;
    int rc = crew_take(end, &message, LONG);
    if (rc != 0) {
        fail_msg("%s: %s", thirl_error_name(rc), thirl_why());
    }
    return message;
}

struct asked {
    const char *role;
    uint64_t lost;
};

static int see(void *context, const struct thirl_seen *seen) {
    struct asked *asked = context;
    asked->lost += seen->pid == getpid() && strcmp(seen->role, asked->role) == 0 ? seen->lost : 0;
    return 0;
}

uint64_t crew_lost(const char *role) {
    struct asked asked = {role, 0};
    assert_int_equal(thirl_list(see, &asked), 0);
    return asked.lost;
}
