/* SPDX-License-Identifier: MIT
 *
 * ?of over every mechanism that knows who else is there: ends whose messages are of one type meet, others are told, by both names; who says
 * nothing is not asked.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/stock.h"

struct frame {
    uint32_t width, height;
    uint64_t pixels[4];
};

/* The same size and alignment, and another order. */
struct tilted {
    uint64_t pixels[4];
    uint32_t width, height;
};

static const struct thirl_field frame_fields[] = {THIRL_FIELD(struct frame, width), THIRL_FIELD(struct frame, height),
                                                  THIRL_FIELD(struct frame, pixels)};
static const struct thirl_field tilted_fields[] = {
    THIRL_FIELD(struct tilted, width), THIRL_FIELD(struct tilted, height), THIRL_FIELD(struct tilted, pixels)};
static const struct thirl_type frame = THIRL_TYPE(struct frame, frame_fields);
static const struct thirl_type tilted = {sizeof(struct thirl_type),
                                         "struct frame",
                                         sizeof(struct tilted),
                                         (uint32_t) __alignof__(struct tilted),
                                         3,
                                         tilted_fields,
                                         0};

static unsigned tested; /* the group of roles, where a line has several; else 0 */

/* The two roles of each kind of channel, the one that is to open first before the other. */
static void roles_of(const struct conform *c, enum thirl_role *first, enum thirl_role *second) {
    static const struct {
        unsigned group;
        enum thirl_role first, second;
    } groups[] = {{CONFORM_PAIR, THIRL_PAIR, THIRL_PAIR},
                  {CONFORM_QUEUE, THIRL_PULL, THIRL_PUSH},
                  {CONFORM_CAST, THIRL_SUB, THIRL_PUB},
                  {CONFORM_EVENT, THIRL_WATCH, THIRL_NOTIFY},
                  {CONFORM_CALL, THIRL_SERVE, THIRL_CALL}};
    for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++) {
        if ((c->line->roles & groups[i].group) != 0 && (tested == 0 || groups[i].group == tested)) {
            *first = groups[i].first;
            *second = groups[i].second;
            return;
        }
    }
}

static int open_typed(const struct conform *c, unsigned n, enum thirl_role role, const struct thirl_type *type,
                      const char *text, thirl **end) {
    struct thirl_options options = THIRL_OPTIONS;
    char option[128];
    options.of = type;
    (void)snprintf(option, sizeof option, "of=%s", text == NULL ? "" : text);
    return thirl_open(end, role, conform_address(c, n, text != NULL ? option : NULL), &options);
}

/* Something that both do when they meet: what that comes to, or what the open said. */
static int use(const struct conform *c, thirl *end, bool first) {
    uint32_t event = 1;
    thirl_msg *msg = NULL;
    if ((c->line->roles & CONFORM_CALL) == 0) {
        bool in = first && (tested != 0 || (c->line->roles & CONFORM_PAIR) == 0);
        int rc = in ? thirl_take(end, &msg, THIRL_NOW) : thirl_send(end, &event, sizeof event, THIRL_NOW);
        if (first && rc == 0 && !in) {
            rc = thirl_take(end, &msg, THIRL_NOW);
        }
        thirl_free(&msg);
        return rc;
    }
    int rc = first ? thirl_take(end, &msg, THIRL_NOW) : thirl_call(end, &event, sizeof event, &msg, THIRL_NOW);
    thirl_free(&msg);
    return rc;
}

/* Opens both, and lets them meet: -THIRL_ETYPE from wherever, or 0 when something arrives. */
static int meet(const struct conform *c, unsigned n, const struct thirl_type *type[2], const char *const text[2]) {
    enum thirl_role role[2] = {THIRL_PAIR, THIRL_PAIR};
    thirl *end[2] = {NULL, NULL};
    char why[512];
    roles_of(c, &role[0], &role[1]);
    int rc = open_typed(c, n, role[0], type[0], text[0], &end[0]);
    must_be(rc, 0);
    rc = open_typed(c, n, role[1], type[1], text[1], &end[1]);
    must(rc == 0 || rc == -THIRL_ETYPE);
    bool arrived = false;
    for (int64_t until = conform_now() + 10000 * MS; rc != -THIRL_ETYPE && !arrived && conform_now() < until;) {
        rc = use(c, end[1], false);
        if (rc != -THIRL_ETYPE) {
            rc = use(c, end[0], true);
            arrived = rc == 0;
        }
        must(rc == 0 || rc == -EAGAIN || rc == -THIRL_ETYPE);
    }
    must(arrived || rc == -THIRL_ETYPE);
    (void)snprintf(why, sizeof why, "%s", thirl_why());
    for (int i = 1; i >= 0; i--) {
        (void)!thirl_close(&end[i], THIRL_NOW);
    }
    if (rc != 0 && (strstr(why, " are frame:40:8:") == NULL || strstr(why, "differs") == NULL ||
                    (text[0] != NULL && strstr(why, text[0]) == NULL))) {
        (void)fprintf(stderr, "\"%s\"\n", why);
        must(!"both are named");
    }
    return rc;
}

static void one_type_meets(struct conform *c) {
    char text[96];
    must_be(thirl_type_text(&frame, text, sizeof text), 0);
    const struct thirl_type *both[2] = {&frame, &frame}, *none[2] = {NULL, NULL}, *one[2] = {&frame, NULL},
                            *other[2] = {NULL, &frame};
    const char *const nothing[2] = {NULL, NULL}, *const said[2] = {NULL, text}, *const name[2] = {"frame", NULL};
    must_be(meet(c, 0, both, nothing), 0);
    must_be(meet(c, 1, none, nothing), 0);
    must_be(meet(c, 2, one, nothing), 0);
    must_be(meet(c, 3, other, nothing), 0);
    must_be(meet(c, 4, one, said), 0);
    must_be(meet(c, 5, other, name), 0);
}

static void others_are_told(struct conform *c) {
    const struct thirl_type *turned[2] = {&tilted, &frame}, *one[2] = {NULL, &frame};
    const char *const nothing[2] = {NULL, NULL};
    static const char *const texts[][2] = {{"image", NULL}, {"frame:44", NULL}, {"frame:40:4", NULL}};
    must_be(meet(c, 0, turned, nothing), -THIRL_ETYPE);
    for (unsigned i = 0; i < 3; i++) {
        must_be(meet(c, 1 + i, one, texts[i]), -THIRL_ETYPE);
    }
}

static bool greets(const struct conform *c) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PULL, conform_address(c, 9, "of=frame"), NULL);
    must(rc == 0 || rc == -EOPNOTSUPP);
    if (rc != 0) {
        must_say("nobody to compare");
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
    return rc == 0;
}

static void queues_of_one_type(struct conform *c) {
    bool packets = strncmp(c->line->name, "udp", 3) == 0 || strcmp(c->line->name, "unix-datagram") == 0;
    tested = CONFORM_QUEUE;
    must_be(greets(c), !packets);
    if (!packets) {
        one_type_meets(c);
    }
}

static void queues_of_others(struct conform *c) {
    tested = CONFORM_QUEUE;
    stock_need(greets(c), "packets greet nobody");
    others_are_told(c);
}

/* What those who are gone said is forgotten, what others still say is not. */
static void it_lasts_as_long_as_somebody_is_there(struct conform *c) {
    thirl *end = NULL, *other = NULL, *third = NULL;
    enum thirl_role in = THIRL_SUB, out = THIRL_PUB;
    must_be(open_typed(c, 0, in, &frame, NULL, &end), 0);
    must_be(open_typed(c, 0, out, NULL, NULL, &other), 0);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    must_be(open_typed(c, 0, in, NULL, "image:7", &end), -THIRL_ETYPE);
    must_say("image:7");
    must_say("frame:40:8:");
    must_say("shm://");
    must_say("the name differs");
    must_be(open_typed(c, 0, in, &frame, NULL, &third), 0);
    must_be(thirl_close(&third, THIRL_NOW), 0);
    must_be(thirl_close(&other, THIRL_NOW), 0);
    must_be(open_typed(c, 0, in, NULL, "image:7", &end), 0);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    must_be(thirl_open(&end, THIRL_SUB, "shm://many/*?of=frame", NULL), -EOPNOTSUPP);
    must_say("?of");
}

/* Whoever dies while it writes it leaves a channel that works, and nothing of it stays. */
static void its_writer_may_die(struct conform *c) {
    static const char *const points[] = {"roll.type.written:1:kill", "roll.type.renamed:1:kill"};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    for (unsigned i = 0; i < 2; i++) {
        thirl *end = NULL;
        pid_t pid = fork();
        if (pid == 0) {
            (void)setenv("THIRL_WEAVE_AT", points[i], 1);
            (void)open_typed(c, 0, THIRL_PUB, &tilted, NULL, &end);
            _exit(0);
        }
        int status = 0;
        must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        must_be(open_typed(c, 0, THIRL_SUB, &frame, NULL, &end), 0);
        must_be(thirl_close(&end, THIRL_NOW), 0);
        must_be(conform_lines_of(path), 0);
    }
}

static void is_refused_where_nobody_hears(struct conform *c) {
    thirl *end = NULL;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, "raw&of=frame"), NULL), -EOPNOTSUPP);
    must_say("?of");
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(one_type_meets, CONFORM_PAIR),
        CONFORM_FOR(others_are_told, CONFORM_PAIR),
        CONFORM_FOR(queues_of_one_type, CONFORM_QUEUE),
        CONFORM_FOR(queues_of_others, CONFORM_QUEUE),
        CONFORM_FOR(one_type_meets, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(others_are_told, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(others_are_told, CONFORM_EVENT),
        CONFORM_FOR(one_type_meets, CONFORM_CALL),
        CONFORM_FOR(others_are_told, CONFORM_CALL),
        CONFORM_ONLY(it_lasts_as_long_as_somebody_is_there, "shm-cast"),
        CONFORM_ONLY(its_writer_may_die, "shm-cast"),
        CONFORM_ONLY(is_refused_where_nobody_hears, "unix-path"),
    };
    (void)unsetenv("CONFORM_WITH");
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
