/* SPDX-License-Identifier: MIT
 *
 * Types of messages: what differs is found, what is not said is not, and what another process wrote is looked at.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/type.h"

struct point {
    int32_t x, y;
    char name[8];
};

static const struct thirl_field fields[] = {THIRL_FIELD(struct point, x), THIRL_FIELD(struct point, y),
                                            THIRL_FIELD(struct point, name)};
static const struct thirl_type point = THIRL_TYPE(struct point, fields);

static void describes_a_struct(void **state) {
    struct type type;
    char text[TYPE_TEXT], whole[96];
    (void)state;
    assert_int_equal(type_take(&type, &point), 0);
    assert_string_equal(type.name, "point");
    assert_int_equal(type.bytes, 16);
    assert_int_equal(type.alignment, 4);
    assert_true(type.layout != 0 && type_sound(&type));
    type_show(text, &type);
    (void)snprintf(whole, sizeof whole, "point:16:4:%llx", (unsigned long long)type.layout);
    assert_string_equal(text, whole);
    assert_int_equal(thirl_type_text(&point, whole, sizeof whole), 0);
    assert_string_equal(text, whole);
    assert_int_equal(thirl_type_text(&point, whole, strlen(text)), -EMSGSIZE);
    assert_int_equal(thirl_type_text(NULL, whole, sizeof whole), -EINVAL);
    assert_int_equal(type_take(&type, NULL), 0);
    assert_true(type_is_none(&type) && type_sound(&type));
}

/* Each change of a field changes the layout. */
static void sees_every_field(void **state) {
    struct type before, after;
    (void)state;
    assert_int_equal(type_take(&before, &point), 0);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned change = 0; change < 4; change++) {
            struct thirl_field other[3];
            struct thirl_type type = point;
            memcpy(other, fields, sizeof other);
            type.fields = other;
            other[i].name = change == 0 ? "other" : other[i].name;
            other[i].offset += change == 1 ? 1 : 0;
            other[i].size -= change == 2 ? 1 : 0;
            type.count -= change == 3 ? 1 : 0;
            type.bytes += 8;
            assert_int_equal(type_take(&after, &type), 0);
            assert_true(after.layout != before.layout);
        }
    }
}

static void compares_what_both_say(void **state) {
    static const struct {
        struct type one, two;
        const char *differs;
    } cases[] = {
        {{.name = "a"}, {.name = ""}, NULL},
        {{.name = ""}, {.name = "a"}, NULL},
        {{.name = "a"}, {.name = "a"}, NULL},
        {{.name = "a"}, {.name = "b"}, "name"},
        {{.name = "a"}, {.name = "A"}, "name"},
        {{.name = "a", .bytes = 4}, {.name = "a"}, NULL},
        {{.name = "a", .bytes = 4}, {.name = "a", .bytes = 8}, "size"},
        {{.name = "a", .bytes = 4, .alignment = 4}, {.name = "a", .bytes = 4, .alignment = 2}, "alignment"},
        {{.name = "a", .bytes = 4, .layout = 7}, {.name = "a", .bytes = 4, .layout = 9}, "layout"},
        {{.name = "a", .bytes = 4, .layout = 7}, {.name = "a", .bytes = 4, .alignment = 4}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = type_match(&cases[i].one, &cases[i].two, "the other end");
        assert_int_equal(rc, cases[i].differs != NULL ? -THIRL_ETYPE : 0);
        if (rc != 0) {
            char last[40], text[TYPE_TEXT];
            (void)snprintf(last, sizeof last, "the %s differs", cases[i].differs);
            assert_non_null(strstr(thirl_why(), last));
            type_show(text, &cases[i].one);
            assert_non_null(strstr(thirl_why(), text));
            type_show(text, &cases[i].two);
            assert_non_null(strstr(thirl_why(), text));
        }
    }
}

static void refuses_what_is_none(void **state) {
    static const char *const names[] = {
        NULL, "", "struct ", "a:b", "a\n", "\x80", "a23456789.123456789.123456789.123456789.1234"};
    struct type type;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct thirl_type bad = point;
        bad.name = names[i];
        assert_int_equal(type_take(&type, &bad), -EINVAL);
    }
    struct thirl_type bad = point;
    bad.bytes = 15;
    assert_int_equal(type_take(&type, &bad), -EINVAL);
    bad = point;
    bad.fields = NULL;
    assert_int_equal(type_take(&type, &bad), -EINVAL);
    bad = point;
    bad.size = 8;
    assert_int_equal(type_take(&type, &bad), -EINVAL);
    bad.size = 800;
    assert_int_equal(type_take(&type, &bad), -THIRL_EVERSION);
}

static void looks_at_what_others_wrote(void **state) {
    struct type type = {.name = "ok"};
    (void)state;
    assert_true(type_sound(&type));
    memset(type.name, 'a', sizeof type.name); /* it never ends */
    assert_false(type_sound(&type));
    type = (struct type){.bytes = 1};
    assert_false(type_sound(&type));
    type = (struct type){.name = "a\x01"};
    assert_false(type_sound(&type));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_a_struct),         cmocka_unit_test(sees_every_field),
        cmocka_unit_test(compares_what_both_say),     cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(looks_at_what_others_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
