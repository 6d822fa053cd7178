/* SPDX-License-Identifier: MIT
 *
 * The verb lock: what a lock by name is.
 */
#include <thirl/lock.h>

#include "tool/tool.h"

static const struct {
    uint32_t flag;
    const char *name;
} flags[] = {{THIRL_LOCK_RECURSIVE, "recursive"},
             {THIRL_LOCK_INHERIT, "inherit"},
             {THIRL_LOCK_DEADLOCK, "deadlock"},
             {THIRL_LOCK_COUNTING, "counting"},
             {THIRL_LOCK_AUTOMATIC, "automatic"}};

static const char *kind_name(enum thirl_lock_kind kind) {
    switch (kind) {
#define NAME(name, number, member, text)                                                                               \
    case THIRL_LOCK_##name:                                                                                            \
        return text;
        THIRL_LOCK_KINDS(NAME)
#undef NAME
    case THIRL_LOCK_ANY:
        break;
    }
    return "lock";
}

static void print(struct text *out, const thirl_lock *lock, bool json) {
    const char *name = kind_name(lock->kind), *between = "";
    text_print(out, json ? "{\"kind\":\"%s\",\"count\":%u,\"flags\":[" : "%s", name, lock->count);
    if (!json && lock->kind == THIRL_LOCK_SEM) {
        text_print(out, ", %u permits", lock->count);
    } else if (!json && lock->kind == THIRL_LOCK_BARRIER) {
        text_print(out, ", %u places", lock->count);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (lock->flags & flags[i].flag) {
            text_print(out, json ? "%s\"%s\"" : "%s, %s", json ? between : "", flags[i].name);
            between = ",";
        }
    }
    text_print(out, json ? "]}\n" : "\n");
}

int tool_lock(const struct tool_args *args) {
    thirl_lock *lock;
    struct text out;
    int rc = thirl_lock_open(&lock, args->operand, THIRL_LOCK_ANY, NULL);
    if (rc) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(rc);
    }
    text_init(&out, 1);
    print(&out, lock, args->json);
    thirl_lock_close(&lock);
    return text_finish(&out, args);
}
