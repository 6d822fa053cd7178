/* SPDX-License-Identifier: MIT
 *
 * Publishers and subscribers whose files are garbage: the others get everything from each other, are told of it in a sentence,
 * and are not hurt.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/fan.h"
#include "mem/place.h"
#include "tests/room.h"

#if defined(__SANITIZE_ADDRESS__)
#define ROUNDS 60
#else
#define ROUNDS 300
#endif

static char address[64], channel[160];

static void settle(void) {
    static int count;
    (void)snprintf(address, sizeof address, "shm://fan%d", ++count);
    (void)snprintf(channel, sizeof channel, "%s/chan/fan%d", room_path, count);
}

static thirl *open_end(enum thirl_role role, const char *options) {
    thirl *end = NULL;
    char whole[128];
    (void)snprintf(whole, sizeof whole, "%s%s", address, options);
    assert_int_equal(thirl_open(&end, role, whole, NULL), 0);
    return end;
}

/* Names of files of that kind in the channel, in the order of their numbers. */
static unsigned find(const char *kind, char file[8][ROLL_FILE_MAX]) {
    DIR *list = opendir(channel);
    unsigned found = 0;
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *is;
        if (roll_parse(entry->d_name, &end, &is) && strcmp(is, kind) == 0) {
            assert_true(found < 8);
            (void)snprintf(file[found++], ROLL_FILE_MAX, "%.90s", entry->d_name);
        }
    }
    (void)closedir(list);
    return found;
}

/* The only file of that kind, open to whoever means no good. */
static void *seize(const char *kind, size_t *size) {
    char file[8][ROLL_FILE_MAX] = {""}, path[300];
    assert_int_equal(find(kind, file), 1);
    (void)snprintf(path, sizeof path, "%s/%s", channel, file[0]);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status = {0};
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    (void)close(fd);
    *size = (size_t)status.st_size;
    return map;
}

static uint64_t nasty(uint64_t near) {
    switch (room_dice(4)) {
    case 0:
        return room_dice(UINT64_MAX);
    case 1:
        return near + room_dice(8192);
    case 2:
        return room_dice(300) << 32 | room_dice(600);
    default:
        return 0;
    }
}

static void expect_honest(thirl *sub, uint64_t number, unsigned *errors) {
    for (int tries = 0; tries < 100000; tries++) {
        uint64_t said[8] = {0};
        size_t size = 0;
        int rc = thirl_recv(sub, said, sizeof said, &size, thirl_in_ms(5000));
        if (rc == -THIRL_EFORMAT) {
            assert_non_null(strstr(thirl_why(), "not listened to any more"));
            (*errors)++;
            continue;
        }
        if (rc == -EMSGSIZE) { /* a lie that is no contradiction: whoever wants to may take it */
            char *large = malloc(size);
            assert_non_null(large);
            rc = thirl_recv(sub, large, size, &size, thirl_in_ms(5000));
            assert_true(rc == 0 || rc == -EMSGSIZE || rc == -THIRL_EFORMAT);
            *errors += rc == -THIRL_EFORMAT;
            free(large);
            continue;
        }
        assert_int_equal(rc, 0);
        if (size == sizeof said && said[0] == UINT64_C(0x5a5a) && said[1] == number) {
            return;
        }
    }
    fail_msg("the honest message %llu did not come", (unsigned long long)number);
}

/* Whatever a publisher writes, everything that the honest one says arrives. */
static void garbage_in_a_publisher(void **state) {
    (void)state;
    unsigned errors = 0;
    for (int round = 0; round < ROUNDS; round++) {
        settle();
        thirl *bad = open_end(THIRL_PUB, round % 2 == 0 ? "?queue=4096&pool=16K" : "?queue=4096&pool=16K&full=latest");
        size_t size;
        struct fan_tx *tx = seize("tx", &size);
        thirl *sub = open_end(THIRL_SUB, round % 3 == 0 ? "?history=3" : ""), *good = open_end(THIRL_PUB, "");
        for (uint64_t i = 0; i < 20; i++) {
            uint64_t said[8] = {0x5a5a, i};
            for (uint64_t j = room_dice(3); j > 0; j--) {
                (void)!thirl_send(bad, said + 2, 48, THIRL_NOW);
            }
            uint64_t *words = (uint64_t *)tx;
            if (round % 5 == 0) {
                for (size_t w = seg_round(sizeof *tx) / 8; w < size / 8; w++) {
                    words[w] = nasty(0);
                }
            }
            switch (room_dice(4)) {
            case 0:
                tx->cast.floor = nasty(tx->cast.floor);
                break;
            case 1:
                tx->cast.newest = nasty(tx->cast.newest);
                break;
            case 2:
                words[room_dice(size / 8)] = nasty(0); /* the mark, too: it was looked at once */
                break;
            default:
                words[seg_round(sizeof *tx) / 8 + room_dice(512)] = nasty(0);
                break;
            }
            assert_int_equal(thirl_send(good, said, sizeof said, THIRL_NOW), 0);
            expect_honest(sub, i, &errors);
        }
        (void)munmap(tx, size);
        assert_int_equal(thirl_close(&good, THIRL_NOW), 0);
        assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
        assert_int_equal(thirl_close(&bad, THIRL_NOW), 0);
    }
    assert_true(errors > ROUNDS / 10);
}

/* And who stands there is found in the roll. */
static void stand_there(const char *node, uint32_t number) {
    char path[300];
    uint64_t id = 0;
    uint32_t at;
    (void)snprintf(path, sizeof path, "%s/roll", channel);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && node_parse(node, strlen(node), &id));
    void *page = mmap(NULL, PLACE_MAP, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    assert_int_equal(place_take(page, fd, id, number, PLACE_SENDS, "x", &at), 0);
    (void)munmap(page, PLACE_MAP);
    (void)close(fd);
}

/* Files that are none are said once, and do not keep anybody from anything. */
static void no_publisher_at_all(void **state) {
    (void)state;
    settle();
    thirl *good = open_end(THIRL_PUB, "");
    char file[8][ROLL_FILE_MAX], path[300], node[NODE_NAME_MAX], junk[20000];
    assert_int_equal(find("tx", file), 1);
    memset(junk, 'x', sizeof junk);
    memcpy(node, file[0], sizeof node - 1);
    node[sizeof node - 1] = '\0';
    for (int i = 0; i < 4; i++) { /* empty, short, long, a FIFO */
        (void)snprintf(path, sizeof path, "%s/%s.%d.tx", channel, node, 70000 + i);
        stand_there(node, 70000u + (unsigned)i);
        if (i == 3) {
            assert_int_equal(mkfifo(path, 0600), 0);
            continue;
        }
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        size_t size = i == 0 ? 0 : i == 1 ? 100 : sizeof junk;
        assert_true(fd >= 0 && write(fd, junk, size) == (ssize_t)size);
        (void)close(fd);
    }
    thirl *sub = open_end(THIRL_SUB, "");
    uint64_t said[8] = {0x5a5a};
    unsigned errors = 0;
    int rc;
    while ((rc = thirl_recv(sub, said, sizeof said, NULL, THIRL_NOW)) == -THIRL_EFORMAT) {
        errors++;
        assert_true(errors < 10);
    }
    assert_int_equal(rc, -EAGAIN);
    assert_true(errors >= 1);
    for (uint64_t i = 0; i < 100; i++) {
        said[0] = 0x5a5a;
        said[1] = i;
        assert_int_equal(thirl_send(good, said, sizeof said, THIRL_NOW), 0);
        errors = 0;
        expect_honest(sub, i, &errors);
        assert_int_equal(errors, 0);
    }
    assert_int_equal(thirl_close(&good, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
}

/* A subscriber that shows impossible positions holds no publisher up. */
static void garbage_in_a_subscriber(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        settle();
        thirl *bad = open_end(THIRL_SUB, "");
        size_t size;
        struct fan_rx *rx = seize("rx", &size);
        thirl *pub = open_end(THIRL_PUB, "?queue=4096&full=block"), *sub = open_end(THIRL_SUB, "");
        (void)!thirl_recv(bad, NULL, 0, NULL, THIRL_NOW); /* takes its seat */
        struct fan_seat *seat = (struct fan_seat *)(void *)((char *)rx + seg_round(sizeof *rx));
        const uint64_t node = seat->node;
        assert_true(node != 0);
        for (uint64_t i = 0; i < 300; i++) {
            uint64_t said[8] = {0x5a5a, i};
            switch (room_dice(6)) {
            case 0:
                seat->cursor = UINT64_MAX - room_dice(8192);
                break;
            case 1:
                seat->node = nasty(0);
                break;
            case 2:
                rx->moved = (uint32_t)room_dice(2);
                break;
            case 3:
                seat->cursor /= 2; /* nobody goes back */
                seat->taken = nasty(0);
                break;
            default:
                seat->cursor += 8 * room_dice(300); /* no record begins there */
                break;
            }
            unsigned errors = 0;
            int rc = thirl_send(pub, said, sizeof said, thirl_in_ms(1));
            if (rc == -ETIMEDOUT) { /* a position that could be: it is waited for like anybody who is slow */
                seat->node = node;
                seat->cursor = UINT64_MAX;
                rc = thirl_send(pub, said, sizeof said, thirl_in_ms(10000));
            }
            assert_int_equal(rc, 0);
            expect_honest(sub, i, &errors);
        }
        (void)munmap(rx, size);
        assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
        (void)!thirl_close(&pub, THIRL_NOW);
        assert_int_equal(thirl_close(&bad, THIRL_NOW), 0);
    }
}

/* What a file says that it is, field by field. */
static void damage(struct fan_mark *mark, int field) {
    switch (field) {
    case 0:
        mark->magic[0] ^= 1;
        break;
    case 1:
        mark->node ^= 1;
        break;
    case 2:
        mark->number ^= 1;
        break;
    case 3:
        mark->version++;
        break;
    default:
        mark->size += 8;
        break;
    }
}

static void every_field_of_a_mark_is_looked_at(void **state) {
    (void)state;
    for (int field = 0; field < 5; field++) {
        const int wanted = field < 3 ? -THIRL_EFORMAT : -THIRL_EVERSION;
        size_t size;
        settle();
        thirl *bad = open_end(THIRL_PUB, "");
        struct fan_tx *tx = seize("tx", &size);
        damage(&tx->mark, field);
        thirl *sub = open_end(THIRL_SUB, ""), *good = open_end(THIRL_PUB, "");
        uint64_t said[8] = {0x5a5a, 1};
        assert_int_equal(thirl_recv(sub, said, sizeof said, NULL, thirl_in_ms(5000)), wanted);
        assert_non_null(strstr(thirl_why(), field < 3 ? "not what its name says" : "layout"));
        said[0] = 0x5a5a, said[1] = 1;
        unsigned errors = 0;
        assert_int_equal(thirl_send(good, said, sizeof said, THIRL_NOW), 0);
        expect_honest(sub, 1, &errors);
        (void)munmap(tx, size);
        assert_int_equal(thirl_close(&good, THIRL_NOW), 0);
        assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
        assert_int_equal(thirl_close(&bad, THIRL_NOW), 0);
        /* A subscriber that is none of thirl's is waited for by nobody. */
        settle();
        bad = open_end(THIRL_SUB, "");
        struct fan_rx *rx = seize("rx", &size);
        damage(&rx->mark, field);
        good = open_end(THIRL_PUB, "?queue=4096&full=block");
        sub = open_end(THIRL_SUB, "");
        for (uint64_t i = 0; i < 200; i++) {
            said[0] = 0x5a5a, said[1] = i;
            assert_int_equal(thirl_send(good, said, sizeof said, thirl_in_ms(5000)), 0);
            expect_honest(sub, i, &errors);
        }
        (void)munmap(rx, size);
        assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
        (void)!thirl_close(&good, THIRL_NOW);
        assert_int_equal(thirl_close(&bad, THIRL_NOW), 0);
    }
}

/* A chunk that a subscriber holds is not given to the next message, and whose it is is known where there are two publishers. */
static void what_is_held_is_not_written_over(void **state) {
    (void)state;
    settle();
    thirl *one = open_end(THIRL_PUB, "?queue=4K&pool=64K&full=block"),
          *two = open_end(THIRL_PUB, "?queue=4K&pool=64K&full=block");
    thirl *sub = open_end(THIRL_SUB, "");
    static char large[8000];
    thirl_msg *held[8] = {NULL}, *msg = NULL;
    for (int i = 0; i < 8; i++) {
        memset(large, 'a' + i, sizeof large);
        assert_int_equal(thirl_send(i % 2 == 0 ? one : two, large, sizeof large, thirl_in_ms(5000)), 0);
        assert_int_equal(thirl_take(sub, &held[i], thirl_in_ms(5000)), 0);
    }
    for (int i = 0; i < 60; i++) {
        memset(large, 'z', sizeof large);
        assert_int_equal(thirl_send(i % 2 == 0 ? one : two, large, sizeof large, thirl_in_ms(5000)), 0);
        assert_int_equal(thirl_take(sub, &msg, thirl_in_ms(5000)), 0);
        assert_int_equal(*(char *)thirl_msg_data(msg), 'z');
        thirl_free(&msg);
    }
    for (int i = 0; i < 8; i++) {
        const char *bytes = thirl_msg_data(held[i]);
        for (size_t n = 0; n < sizeof large; n++) assert_int_equal(bytes[n], 'a' + i);
        thirl_free(&held[i]);
    }
    assert_int_equal(thirl_close(&sub, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&two, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&one, THIRL_NOW), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_in_a_publisher),           cmocka_unit_test(no_publisher_at_all),
        cmocka_unit_test(garbage_in_a_subscriber),          cmocka_unit_test(every_field_of_a_mark_is_looked_at),
        cmocka_unit_test(what_is_held_is_not_written_over),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
