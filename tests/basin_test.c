/* SPDX-License-Identifier: MIT
 *
 * Whom the ends of a duct meet, and how they part: posts that are lost or lie, ends that speak with another one, the last packet beside the goodbye, and what
 * the kernel does not do for them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <mqueue.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/carried.h"
#include "tests/kinds.h"
#include "tests/member.h"
#include "tests/quota.h"
#include "tests/refuse.h"

#define SOON thirl_in_ms(20000)
#define LARGE 100000

static const char *const schemes[] = {"mq", "sysv"};
static const char *scheme;
static char byte;
static size_t size;
static int number; /* of the channel */

static int open_end(thirl **end, enum thirl_role role) {
    char address[80];
    (void)snprintf(address, sizeof address, "%s://basin-%d?queue=16K", scheme, number);
    return thirl_open(end, role, address, NULL);
}

static struct duct *duct_of(thirl *end) {
    return &((struct carried *)end->state)->as.duct;
}

/* Takes the note away that the other end has sent when it found this one. */
static int drain(thirl *end) {
    const struct queue *q = &duct_of(end)->in.q;
    struct mech_note note;
    const struct iovec part = {q->in.block, q->facts.packet};
    CHECK(q->carrier->recv(q->carried, &part, 1, &size, NULL, &note, false) == 0);
    return 0;
}

/* ---- meeting ---- */

/* A sender's post is lost, or there are older ones, of ends that are none: what it sends arrives. */
static int do_a_sender_is_known_by_what_it_sends(void) {
    enum { LOST, NUMBER, NODE, WAYS };
    for (int way = 0; way < WAYS; way++) {
        thirl *to, *from;
        char path[ROOM_FILE], older[400];
        CHECK(open_end(&from, THIRL_READ) == 0 && open_end(&to, THIRL_WRITE) == 0);
        CHECK(drain(from) == 0 && room_only("*.post.*", path) == 0);
        if (way == LOST) {
            CHECK(unlink(path) == 0);
        } else {
            const struct roll_end *self = &duct_of(to)->roll.self;
            char *at = strstr(path, ".post.");
            (void)snprintf(older, sizeof older, "%.*s.post.%016x.%016llx.%u", (int)(at - path), path, 1,
                           (unsigned long long)self->node + (way == NODE), self->number + (way == NUMBER));
            CHECK(link(path, older) == 0);
        }
        CHECK(thirl_send(to, "x", 1, SOON) == 0);
        CHECK(thirl_recv(from, &byte, 1, &size, SOON) == 0 && size == 1 && byte == 'x');
        CHECK(way == LOST || access(older, F_OK) != 0);
        CHECK(thirl_close(&to, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == THIRL_END);
        CHECK(thirl_close(&from, SOON) >= 0);
    }
    return 0;
}

/* Who speaks with, or hears, another end is not met. */
static int do_who_has_another_one_is_waited_for(void) {
    for (int way = 0; way < 2; way++) {
        thirl *to, *from;
        CHECK(open_end(&from, THIRL_READ) == 0);
        struct duct *d = duct_of(from);
        struct duct_link *link = way == 0 ? &d->page->from : &d->page->to;
        link->number = d->roll.self.number + 100;
        link->node = d->roll.self.node;
        CHECK(open_end(&to, THIRL_WRITE) == 0 && thirl_send(to, "x", 1, THIRL_NOW) == -EAGAIN);
        CHECK(!duct_of(to)->out.linked);
        link->node = 0;
        CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == 0);
        CHECK(thirl_close(&to, SOON) == 0 && thirl_close(&from, SOON) >= 0);
        /* And the other way round. */
        char path[ROOM_FILE];
        CHECK(open_end(&from, THIRL_READ) == 0 && open_end(&to, THIRL_WRITE) == 0);
        CHECK(drain(from) == 0 && room_only("*.post.*", path) == 0 && unlink(path) == 0);
        d = duct_of(to);
        link = way == 0 ? &d->page->from : &d->page->to;
        const struct duct_link was = *link;
        link->number = d->roll.self.number + 100;
        link->node = d->roll.self.node;
        CHECK(thirl_recv(from, &byte, 1, &size, THIRL_NOW) == -EAGAIN && !duct_of(from)->in.bound);
        *link = was;
        CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == 0);
        CHECK(thirl_close(&to, SOON) == 0 && thirl_close(&from, SOON) >= 0);
    }
    return 0;
}

/* Where the peer sends from, or whom to, is not said rightly, or is nowhere: then the kernel keeps nobody away, and all goes on. */
static int lie_of_the_source(void *nothing) {
    (void)nothing;
    static const char *const sources[] = {"", "@thirl-of-nobody", "/no/abstract/name",
                                          NULL}; /* NULL: whom it sends to */
    char address[80];
    (void)snprintf(address, sizeof address, "unix://@basin-%d?type=datagram", (int)getpid());
    for (unsigned i = 0; i < sizeof sources / sizeof *sources; i++) {
        thirl *one, *two;
        CHECK(thirl_open(&one, THIRL_PAIR, address, NULL) == 0 && thirl_open(&two, THIRL_PAIR, address, NULL) == 0);
        struct duct_page *page = duct_of(two)->page;
        const bool whom = sources[i] == NULL;
        (void)snprintf(page->source, sizeof page->source, "%s", whom ? page->source : sources[i]);
        page->to.number += whom;
        CHECK(thirl_send(two, "x", 1, SOON) == 0 && thirl_recv(one, &byte, 1, &size, SOON) == 0);
        CHECK(!duct_of(one)->in.confined);
        page->to.number -= whom;
        for (int turn = 0; turn < 3; turn++) {
            CHECK(thirl_send(one, "x", 1, SOON) == 0 && thirl_recv(two, &byte, 1, &size, SOON) == 0);
            CHECK(thirl_send(two, "x", 1, SOON) == 0 && thirl_recv(one, &byte, 1, &size, SOON) == 0);
        }
        CHECK(!duct_of(one)->in.confined && duct_of(two)->in.confined);
        CHECK(thirl_close(&one, SOON) >= 0 && thirl_close(&two, SOON) >= 0);
    }
    return 0;
}

static void a_source_that_is_none_keeps_nobody_away(void **state) {
    assert_int_equal(member_clear(state), 0);
    assert_int_equal(room_run(lie_of_the_source, NULL), 0);
}

/* ---- bytes ---- */

static int do_a_stream_gives_what_is_asked_for(void) {
    static char data[LARGE], came[LARGE];
    thirl *to, *from;
    size_t sent = 0, got = 0;
    CHECK(open_end(&from, THIRL_READ) == 0 && open_end(&to, THIRL_WRITE) == 0);
    CHECK(thirl_send(to, "ab", 2, SOON) == 0);
    CHECK(thirl_recv(from, NULL, 0, &size, SOON) == 0 && size == 0);
    CHECK(thirl_recv(from, &byte, 1, &size, SOON) == 0 && size == 1 && byte == 'a');
    CHECK(thirl_recv(from, NULL, 0, &size, SOON) == 0 && size == 0);
    CHECK(thirl_recv(from, &byte, 1, &size, SOON) == 0 && size == 1 && byte == 'b');
    for (int i = 0; i < LARGE; i++) data[i] = (char)(i * 7);
    CHECK(thirl_send(to, data, LARGE, thirl_in_ms(5)) == -ETIMEDOUT); /* what fits into the queue is on its way */
    const char *why = strstr(thirl_why(), " of 100000 bytes were sent");
    while (why != NULL && why[-1] >= '0' && why[-1] <= '9') why--;
    CHECK(why != NULL && sscanf(why, "%zu", &sent) == 1 && sent != 0 && sent < LARGE);
    for (; got < sent; got += size) CHECK(thirl_recv(from, came + got, LARGE - got, &size, SOON) == 0);
    CHECK(got == sent && memcmp(data, came, got) == 0);
    CHECK(thirl_close(&to, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == THIRL_END);
    CHECK(thirl_close(&from, SOON) >= 0);
    return 0;
}

/* ---- parting ---- */

static bool is_lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* Behind the last message an event loop is not left asleep: the goodbye is to be heard, too. */
static int do_a_goodbye_lights_at_once(void) {
    thirl *one, *two;
    CHECK(open_end(&one, THIRL_PAIR) == 0 && open_end(&two, THIRL_PAIR) == 0);
    CHECK(thirl_send(two, "x", 1, SOON) == 0 && thirl_recv(one, &byte, 1, &size, SOON) == 0);
    int fd = thirl_fd(one);
    CHECK(fd >= 0 && thirl_recv(one, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_send(two, "y", 1, SOON) == 0 && thirl_close(&two, THIRL_NOW) >= 0);
    CHECK(is_lit(fd, 5000) && thirl_recv(one, &byte, 1, &size, THIRL_NOW) == 0 && byte == 'y');
    CHECK(is_lit(fd, 0) && thirl_recv(one, &byte, 1, &size, THIRL_NOW) == -THIRL_ECLOSED);
    CHECK(is_lit(fd, 0) && thirl_close(&one, SOON) >= 0);
    return 0;
}

/* Who closed without a word to the half that receives is known by the half that sends, even if neither his post nor his page is to be had any more. */
static int do_a_goodbye_is_known_by_either_half(void) {
    thirl *one, *two;
    glob_t posts;
    char all[120];
    CHECK(open_end(&one, THIRL_PAIR) == 0 && open_end(&two, THIRL_PAIR) == 0);
    CHECK(thirl_send(one, "x", 1, SOON) == 0 && drain(one) == 0);
    (void)snprintf(all, sizeof all, "%s/chan/*/*.post.*", room_path);
    CHECK(glob(all, 0, NULL, &posts) == 0);
    for (size_t i = 0; i < posts.gl_pathc; i++) CHECK(unlink(posts.gl_pathv[i]) == 0);
    globfree(&posts);
    duct_part(&duct_of(one)->linked);
    CHECK(thirl_close(&two, SOON) >= 0);
    CHECK(thirl_recv(one, &byte, 1, &size, THIRL_NOW) == -EAGAIN); /* nobody has looked yet */
    CHECK(thirl_send(one, "x", 1, SOON) == -THIRL_ECLOSED);
    CHECK(thirl_recv(one, &byte, 1, &size, SOON) == -THIRL_ECLOSED);
    CHECK(strstr(thirl_why(), "closed its end") != NULL && strstr(thirl_why(), "pid ") != NULL);
    CHECK(thirl_close(&one, SOON) >= 0);
    return 0;
}

/* Of messages of which the peer does not say that it is they that it has received, none counts as received. */
static int do_what_another_one_hears_is_not_heard(void) {
    thirl *one, *two;
    CHECK(open_end(&one, THIRL_PAIR) == 0 && open_end(&two, THIRL_PAIR) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(thirl_send(one, "x", 1, SOON) == 0 && thirl_recv(two, &byte, 1, &size, SOON) == 0);
    }
    duct_of(two)->page->from.number++;
    CHECK(thirl_close(&one, thirl_in_ms(20)) == 2 && thirl_close(&two, SOON) >= 0);
    return 0;
}

/* An inbox that somebody has removed is no longer noted once its end is closed. */
static int do_what_was_removed_is_forgotten(void) {
    thirl *end;
    char path[ROOM_FILE];
    CHECK(open_end(&end, THIRL_READ) == 0 && room_only("kept.*", path) == 0);
    CHECK(duct_of(end)->carrier->remove(duct_of(end)->page->place) == 0);
    CHECK(thirl_close(&end, SOON) >= 0 && access(path, F_OK) != 0);
    return 0;
}

/* ---- a kernel that does not ---- */

static int close_in_vain(void *nothing) {
    (void)nothing;
    thirl *end;
    if (open_end(&end, THIRL_READ) != 0) return REFUSE_SKIP;
    if (refuse(SYS_mq_unlink, EACCES) != 0 || refuse(SYS_msgctl, EACCES) != 0 || refuse(SYS_msgget, EACCES) != 0) {
        return REFUSE_SKIP;
    }
    CHECK(thirl_close(&end, SOON) >= 0);
    return 0;
}

static int open_and_close(void *nothing) {
    (void)nothing;
    thirl *end;
    CHECK(open_end(&end, THIRL_READ) == 0 && thirl_close(&end, SOON) >= 0);
    return 0;
}

/* Is that inbox there? */
static bool stands(const char *place) {
    struct msqid_ds about;
    if (place[0] == '0') {
        return msgctl(atoi(strchr(place, '.') + 1), IPC_STAT, &about) == 0;
    }
    mqd_t mq = mq_open(place, O_RDONLY | O_CLOEXEC);
    return mq >= 0 && mq_close(mq) == 0;
}

static int do_what_cannot_be_removed(void *nothing) {
    (void)nothing;
    char path[ROOM_FILE], note[2000] = "";
    number = (int)getpid();
    int rc = room_run(close_in_vain, NULL);
    if (rc != 0) return rc;
    CHECK(room_only("kept.*", path) == 0);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    const size_t got = fread(note, 1, sizeof note - 1, file);
    const char *place = memmem(note, got, scheme[0] == 'm' ? "/thirl-" : "0x", scheme[0] == 'm' ? 7 : 2);
    CHECK(fclose(file) == 0 && place != NULL && stands(place));
    CHECK(room_run(open_and_close, NULL) == 0);
    CHECK(access(path, F_OK) != 0 && !stands(place));
    return 0;
}

/* An inbox that could not be removed stays noted, and goes with whoever comes next. */
static void what_cannot_be_removed_stays_noted(void **state) {
    for (int i = 0; i < 2; i++) {
        scheme = schemes[i];
        assert_int_equal(member_clear(state), 0);
        int rc = room_run(do_what_cannot_be_removed, NULL);
        if (rc == REFUSE_SKIP) {
            print_message("skip: %s, or refusals, are not to be had here\n", scheme);
            continue;
        }
        assert_int_equal(rc, 0);
    }
}

/* The second name of an end's page is refused: there is no such end, and nothing of it stays. */
static int open_in_vain(void *nothing) {
    (void)nothing;
    thirl *one, *two = NULL;
    char path[ROOM_FILE];
    if (open_end(&one, THIRL_PAIR) != 0 || refuse(SYS_linkat, ENOSPC) != 0) return REFUSE_SKIP;
    CHECK(open_end(&two, THIRL_PAIR) == -ENOSPC && strstr(thirl_why(), "the registry cannot be written") != NULL);
    CHECK(two == NULL && room_only("*.rx", path) == 0 && room_only("*.tx", path) == 0);
    CHECK(thirl_close(&one, SOON) >= 0);
    return 0;
}

static void a_page_with_one_name_is_no_end(void **state) {
    assert_int_equal(member_clear(state), 0);
    scheme = "sysv";
    int rc = room_run(open_in_vain, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

static int run(void *body) {
    thirl *end;
    number = (int)getpid();
    if (open_end(&end, THIRL_PAIR) != 0 || thirl_close(&end, THIRL_NOW) < 0) {
        return 77;
    }
    return (*(int (*const *)(void))body)();
}

OVER_EACH_KIND(a_sender_is_known_by_what_it_sends)
OVER_EACH_KIND(who_has_another_one_is_waited_for)
OVER_EACH_KIND(a_stream_gives_what_is_asked_for)
OVER_EACH_KIND(a_goodbye_lights_at_once)
OVER_EACH_KIND(a_goodbye_is_known_by_either_half)
OVER_EACH_KIND(what_another_one_hears_is_not_heard)
OVER_EACH_KIND(what_was_removed_is_forgotten)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sender_is_known_by_what_it_sends),
        cmocka_unit_test(who_has_another_one_is_waited_for),
        cmocka_unit_test(a_source_that_is_none_keeps_nobody_away),
        cmocka_unit_test(a_stream_gives_what_is_asked_for),
        cmocka_unit_test(a_goodbye_lights_at_once),
        cmocka_unit_test(a_goodbye_is_known_by_either_half),
        cmocka_unit_test(what_another_one_hears_is_not_heard),
        cmocka_unit_test(what_was_removed_is_forgotten),
        cmocka_unit_test(what_cannot_be_removed_stays_noted),
        cmocka_unit_test(a_page_with_one_name_is_no_end),
    };
    (void)quota_take(false);
    return cmocka_run_group_tests_name("basin", tests, member_begin, room_end);
}
