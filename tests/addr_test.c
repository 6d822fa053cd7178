/* SPDX-License-Identifier: MIT
 *
 * The grammar of addresses. A wrong address gets a sentence that holds the piece that is wrong.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "wire/addr.h"

static struct addr parsed;

static void takes(const char *text, const char *scheme, const char *rest) {
    int r = addr_parse(&parsed, text, NULL);
    if (r != 0) print_error("%s: %s\n", text, thirl_why());
    assert_int_equal(r, 0);
    assert_int_equal(parsed.scheme_length, strlen(scheme));
    assert_memory_equal(text, scheme, parsed.scheme_length);
    assert_string_equal(parsed.rest, rest);
    assert_int_equal(parsed.options.size, sizeof parsed.options);
}

static void refuses(const char *text, const char *piece) {
    int r = addr_parse(&parsed, text, NULL);
    if (r != -THIRL_EADDRESS || !strstr(thirl_why(), piece)) {
        print_error("%s: %s: %s\n", text, thirl_error_name(r), thirl_why());
    }
    assert_int_equal(r, -THIRL_EADDRESS);
    assert_non_null(strstr(thirl_why(), piece));
}

static void splits(void **state) {
    (void)state;
    takes("shm://camera/front", "shm", "camera/front");
    takes("unix:///run/x.sock", "unix", "/run/x.sock");
    takes("unix://@abstract", "unix", "@abstract");
    takes("tcp://[::1]:80", "tcp", "[::1]:80");
    takes("pipe://", "pipe", "");
    takes("a+b-c.9://x", "a+b-c.9", "x");
    takes("shm://a://b=c&d#e+f", "shm", "a://b=c&d#e+f");
    takes("shm://a%2fb%3Fc%25%20", "shm", "a/b?c% ");
    takes("shm://\xc3\xa4", "shm", "\xc3\xa4");
}

static void takes_types(void **state) {
    (void)state;
    takes("shm://x?of=frame", "shm", "x");
    assert_ptr_equal(parsed.options.of, &parsed.of);
    assert_string_equal(parsed.of.name, "frame");
    assert_true(parsed.of.bytes == 0 && parsed.of.alignment == 0 && parsed.of.layout == 0);
    takes("shm://x?of=frame%20x:48:8:9ae16a3b2f90404f&max=7", "shm", "x");
    assert_string_equal(parsed.of.name, "frame x");
    assert_true(parsed.of.bytes == 48 && parsed.of.alignment == 8);
    assert_true(parsed.of.layout == UINT64_C(0x9ae16a3b2f90404f) && parsed.of.size == sizeof parsed.of);
    takes("shm://x?of=a:1", "shm", "x");
    assert_true(parsed.of.bytes == 1 && parsed.options.max == 0);
    refuses("shm://x?of=", "\"\" at character");
    refuses("shm://x?of=:1", " takes ");
    refuses("shm://x?of=a:", " takes ");
    refuses("shm://x?of=a:x", " takes ");
    refuses("shm://x?of=a:1:", " takes ");
    refuses("shm://x?of=a:1:4294967296", " takes ");
    refuses("shm://x?of=a:1:2:g", " takes ");
    refuses("shm://x?of=a:1:2:12345678901234567", " takes ");
    refuses("shm://x?of=a:1:2:3:4", " takes ");
    refuses("shm://x?of=a:1:2:3:", " takes ");
}

static void refuses_wrong_shapes(void **state) {
    (void)state;
    refuses("", "scheme://");
    refuses("camera", "\"camera\"");
    refuses("shm:/x", "\"shm:/x\"");
    refuses("://x", "no scheme");
    refuses("Shm://x", "\"S\" at character 1");
    refuses("s_m://x", "\"_\" at character 2");
    refuses("9p://x", "\"9\" at character 1");
    refuses("bad\x01\n", "bad\\x01\\x0a");
    refuses("shm://a%", "\"%\" at character 8");
    refuses("shm://a%2", "\"%2\" at character 8");
    refuses("shm://a%zz1", "\"%zz\" at character 8");
    refuses("shm://a%2g?max=1", "\"%2g\"");
    refuses("shm://a%00b", "\"%00\" at character 8 is a NUL");
    refuses("shm://a%4?max=1", "\"%4\"");
}

static void takes_options(void **state) {
    (void)state;
    takes("shm://x?queue=1", "shm", "x");
    assert_true(parsed.options.queue == 1);
    takes("shm://x?queue=64K&max=4M", "shm", "x");
    assert_true(parsed.options.queue == 65536);
    assert_true(parsed.options.max == 4 << 20);
    takes("shm://x?max=1024G", "shm", "x");
    assert_true(parsed.options.max == UINT64_C(1) << 40);
    takes("shm://x?mode=0660&type=seqpacket&wait=sleep&timeout=5s", "shm", "x");
    assert_int_equal(parsed.options.mode, 0660);
    assert_int_equal(parsed.options.type, THIRL_SEQPACKET);
    assert_int_equal(parsed.options.wait, THIRL_WAIT_SLEEP);
    assert_true(parsed.options.timeout == 5 * CLOCK_S);
    takes("shm://x?mode=600&type=stream&wait=spin&timeout=5ms", "shm", "x");
    assert_int_equal(parsed.options.mode, 0600);
    assert_int_equal(parsed.options.type, THIRL_STREAM);
    assert_int_equal(parsed.options.wait, THIRL_WAIT_SPIN);
    assert_true(parsed.options.timeout == 5 * CLOCK_MS);
    takes("shm://x?lifespan=20ms&deadline=3s", "shm", "x");
    assert_true(parsed.options.lifespan == 20 * CLOCK_MS && parsed.options.deadline == 3 * CLOCK_S);
    takes("shm://x?timeout=7us", "shm", "x");
    assert_true(parsed.options.timeout == 7 * CLOCK_US);
    takes("shm://x?timeout=9ns&wait=adaptive", "shm", "x");
    assert_true(parsed.options.timeout == 9);
    takes("shm://x?wait=s%70in", "shm", "x");
    assert_int_equal(parsed.options.wait, THIRL_WAIT_SPIN);
    takes("unix://@x?raw&descriptors=3&type=datagram", "unix", "@x");
    assert_int_equal(parsed.options.raw, 1);
    assert_int_equal(parsed.options.descriptors, 3);
    assert_int_equal(parsed.options.type, THIRL_DATAGRAM);
    takes("unix://@x?raw=off", "unix", "@x");
    assert_int_equal(parsed.options.raw, 0);
    takes("unix://@x?raw=on", "unix", "@x");
    assert_int_equal(parsed.options.raw, 1);
    takes("shm://x", "shm", "x");
    assert_true(parsed.options.queue == 0 && parsed.options.max == 0 && parsed.options.timeout == 0);
}

/* Texts are decoded, and live as long as the parsed address. */
static void keeps_texts(void **state) {
    char address[] = "shm://x?spy=/tmp/a%26b%3f&max=7&hurt=7:again/3,fail=ENOBUFS@4";
    struct thirl_options options = THIRL_OPTIONS;
    (void)state;
    options.spy = "2";
    takes(address, "shm", "x");
    memset(address, 'x', sizeof address - 1);
    assert_string_equal(parsed.options.spy, "/tmp/a&b?");
    assert_string_equal(parsed.options.hurt, "7:again/3,fail=ENOBUFS@4");
    assert_true(parsed.options.max == 7);
    assert_int_equal(addr_parse(&parsed, "shm://x?hurt=1", &options), 0);
    assert_string_equal(parsed.options.spy, "2");
    assert_string_equal(parsed.options.hurt, "1");
    refuses("shm://x?spy", "has no value");
    refuses("shm://x?hurt=", "hurt= takes a seed");
    refuses("shm://x?spy=1&spy=2", "given twice");
}

static void refuses_wrong_options(void **state) {
    static const char *const sizes[] = {"0",
                                        "",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1k",
                                        "1KB",
                                        "1T",
                                        "x",
                                        "1.5M",
                                        "0x10",
                                        "1025G",
                                        "1099511627777",
                                        "18446744073709551616",
                                        "99999999999999999999999",
                                        "17179869184G"};
    static const char *const times[] = {"0s", "5", "s", "-5s", "5m", "1h", "366000000s", "5S", "5 s", "1.5s"};
    static const char *const modes[] = {"0", "8", "1000", "rw", "0x1ff", "", "-1", "660K"};
    char text[128];
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(text, sizeof text, "shm://x?queue=%s", sizes[i]);
        refuses(text, "at character 15 is not; queue= takes a size in bytes");
        snprintf(text, sizeof text, "\"%s\" at character", sizes[i]);
        assert_non_null(strstr(thirl_why(), text));
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        snprintf(text, sizeof text, "shm://x?timeout=%s", times[i]);
        refuses(text, "timeout= takes a duration");
    }
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        snprintf(text, sizeof text, "shm://x?mode=%s", modes[i]);
        refuses(text, "mode= takes permission bits");
    }
    refuses("shm://x?wait=hard", "\"hard\" at character 14 is not; wait= takes adaptive, spin or sleep");
    refuses("shm://x?wait=", "wait= takes");
    refuses("unix://x?type=dgram", "type= takes stream, seqpacket or datagram");
    refuses("unix://x?raw=yes", "raw= takes on or off");
    refuses("unix://x?descriptors=17", "descriptors= takes a number from 0 to 16");
    refuses("shm://x?full=wait", "full= takes block, drop-oldest, drop-newest, latest, fail or disconnect");
    refuses("shm://x?full=usual", "full= takes block");
    refuses("shm://x?history=1000001", "history= takes a number");
    refuses("unix://x?raw&raw", "\"raw\" at character 14 is given twice");
    refuses("shm://x?qeue=1", "\"qeue\" at character 9 is no option; known are queue=");
    refuses("shm://x?que=1", "\"que\"");
    refuses("shm://x?queues=1", "\"queues\"");
    refuses("shm://x?max=1&max=2", "\"max\" at character 15 is given twice");
    refuses("shm://x?max", "\"max\" at character 9 has no value");
    refuses("shm://x?=1", "is no option");
    refuses("shm://x?", "\"?\" at character 8 has no name=value");
    refuses("shm://x?max=1&", "\"&\" at character 14");
    refuses("shm://x?max=1&&mode=600", "\"&\" at character 14");
    refuses("shm://x?&max=1", "\"?\" at character 8");
    refuses("shm://x?max=%0", "\"%0\" at character 13");
    refuses("shm://x?max=%00", "NUL");
    refuses("shm://x?max=1?mode=600", "\"1?mode=600\"");
}

/* The sentence lists every option that there is: they are tried here one by one. */
static void knows_what_it_lists(void **state) {
    (void)state;
    refuses("shm://x?nothing=1", "known are ");
    char list[256], text[64];
    strncpy(list, strstr(thirl_why(), "known are ") + 10, sizeof list - 1);
    list[sizeof list - 1] = 0;
    int count = 0;
    for (char *word = strtok(list, ", "); word; word = strtok(NULL, ", ")) {
        if (!strchr(word, '=')) continue;
        bool text_option = strcmp(word, "spy=") == 0 || strcmp(word, "hurt=") == 0 ||
                           strcmp(word, "of=") == 0; /* they take any but the empty one */
        snprintf(text, sizeof text, "shm://x?%s%s", word, text_option ? "" : "!");
        refuses(text, " takes ");
        count++;
    }
    assert_int_equal(count, 22);
}

static void is_bounded(void **state) {
    char text[2 * ADDR_MAX];
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "shm://", 6);
    text[ADDR_MAX - 1] = 0;
    assert_int_equal(addr_parse(&parsed, text, NULL), 0);
    assert_int_equal(strlen(parsed.rest), ADDR_MAX - 1 - 6);
    text[ADDR_MAX - 1] = 'x';
    text[ADDR_MAX] = 0;
    refuses(text, "longer than 319");
    memset(text, 1, ADDR_MAX - 1);
    text[ADDR_MAX - 1] = 0;
    refuses(text, "\\x01...");
    char *heap = malloc(12); /* reading behind its end is seen by the sanitizers */
    memcpy(heap, "shm://x?max", 12);
    refuses(heap, "has no value");
    free(heap);
}

static void checks_defaults(void **state) {
    struct thirl_options options = THIRL_OPTIONS;
    (void)state;
    options.queue = 4096;
    options.wait = THIRL_WAIT_SPIN;
    assert_int_equal(addr_parse(&parsed, "shm://x?wait=adaptive&max=7", &options), 0);
    assert_true(parsed.options.queue == 4096);
    assert_true(parsed.options.max == 7);
    assert_int_equal(parsed.options.wait, THIRL_WAIT_ADAPTIVE);
    options.wait = 3;
    assert_int_equal(addr_parse(&parsed, "shm://x", &options), -EINVAL);
    assert_non_null(strstr(thirl_why(), "thirl_options.wait is 3"));
    options = THIRL_OPTIONS;
    options.timeout = -1;
    assert_int_equal(addr_parse(&parsed, "shm://x", &options), -EINVAL);
    assert_non_null(strstr(thirl_why(), "thirl_options.timeout is -1"));
    options = THIRL_OPTIONS;
    options.signal = 12;
    assert_int_equal(addr_parse(&parsed, "shm://x", &options), -EINVAL);
    assert_non_null(strstr(thirl_why(), "thirl_options.signal is 12"));
    assert_int_equal(addr_parse(&parsed, "sig://1?signal=64", NULL), 0);
    assert_int_equal(parsed.options.signal, 64);
    assert_int_equal(addr_parse(&parsed, "sig://1?signal=9", NULL), -THIRL_EADDRESS);
    assert_int_equal(addr_parse(&parsed, "sig://1?signal=65", NULL), -THIRL_EADDRESS);
    options = (struct thirl_options){0};
    assert_int_equal(addr_parse(&parsed, "shm://x", &options), -EINVAL);
    assert_non_null(strstr(thirl_why(), "THIRL_OPTIONS"));
    assert_int_equal(addr_parse(&parsed, NULL, NULL), -EINVAL);
    assert_non_null(strstr(thirl_why(), "NULL"));
}

/* A program built with a shorter or a longer struct than this library's. */
static void bridges_versions(void **state) {
    struct {
        struct thirl_options known;
        char more[16];
    } longer = {.known = THIRL_OPTIONS};
    (void)state;
    longer.known.size = sizeof longer;
    longer.known.queue = 5;
    assert_int_equal(addr_parse(&parsed, "shm://x", &longer.known), 0);
    assert_true(parsed.options.queue == 5);
    assert_int_equal(parsed.options.size, sizeof parsed.options);
    longer.more[15] = 1;
    assert_int_equal(addr_parse(&parsed, "shm://x", &longer.known), -THIRL_EVERSION);
    assert_non_null(strstr(thirl_why(), THIRL_VERSION));
    struct thirl_options shorter = THIRL_OPTIONS;
    shorter.size = offsetof(struct thirl_options, spy) + 2;
    assert_int_equal(addr_parse(&parsed, "shm://a", &shorter), -EINVAL);
    assert_non_null(strstr(thirl_why(), "spy"));
    shorter.size = offsetof(struct thirl_options, max);
    shorter.queue = 5;
    shorter.max = 6; /* not the program's to set */
    assert_int_equal(addr_parse(&parsed, "shm://x", &shorter), 0);
    assert_true(parsed.options.queue == 5);
    assert_true(parsed.options.max == 0);
}

/* Any bytes at all: an answer, a sentence with it, and nothing touched outside (the sanitizers look on). */
static void survives_noise(void **state) {
    static const char alphabet[] = "shm://?&=%0aZ\x01\xff"
                                   "waitmaxqueue64KMs";
    char text[64];
    uint32_t dice = 12345;
    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t start = round % 2 ? 0 : (size_t)snprintf(text, sizeof text, "shm://x?");
        dice = dice * 1664525 + 1013904223;
        size_t length = start + dice % 24;
        for (size_t i = start; i < length; i++) {
            dice = dice * 1664525 + 1013904223;
            text[i] = alphabet[(dice >> 16) % (sizeof alphabet - 1)];
        }
        text[length] = 0;
        int r = addr_parse(&parsed, text, NULL);
        assert_true(r == 0 || (r == -THIRL_EADDRESS && *thirl_why()));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),          cmocka_unit_test(refuses_wrong_shapes),
        cmocka_unit_test(takes_options),   cmocka_unit_test(refuses_wrong_options),
        cmocka_unit_test(is_bounded),      cmocka_unit_test(knows_what_it_lists),
        cmocka_unit_test(checks_defaults), cmocka_unit_test(bridges_versions),
        cmocka_unit_test(survives_noise),  cmocka_unit_test(keeps_texts),
        cmocka_unit_test(takes_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
